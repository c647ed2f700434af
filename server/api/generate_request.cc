#include "server/api/generate_request.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/api/conversions.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/util/random.h"
#include "server/util/status_details.h"

namespace olmoe::api {
namespace {

constexpr int kMaxStopStrings = 64;
constexpr size_t kMaxStopBytes = 256;
constexpr int kMaxStopTokens = 64;
constexpr uint32_t kMaxChoices = 16;
constexpr double kMaxPenalty = 2, kMaxBias = 100;
constexpr int kMaxBiasedTokens = 1024;

std::vector<TokenId> ParsePrompt(const v1::GenerateRequest& request,
                                 const experiment::Serving& serving, const Interrupt& interrupt,
                                 RequestErrors* errors) {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      if (!request.text().empty()) {
        const bool special = !request.has_add_special_tokens() || request.add_special_tokens();
        return EncodeText(request.text(), "text", special, serving, errors, interrupt);
      }
      errors->Add("text", "must not be empty");
      break;
    case v1::GenerateRequest::kTokens:
      if (request.tokens().ids_size() > 0) {
        return ParseTokenIds(request.tokens().ids(), "tokens.ids", serving, errors);
      }
      errors->Add("tokens.ids", "must not be empty");
      break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      errors->Add("prompt", "text or tokens must be set");
      break;
  }
  return {};
}

// Adds a violation unless `ok`; NaN fails every range, so it is caught too.
void Check(bool ok, const char* field, const char* range, double value, RequestErrors* errors) {
  if (!ok) errors->Add(field, absl::StrCat("must be ", range, ", is ", value));
}

// Ascending tokens.
std::vector<std::pair<TokenId, float>> ParseLogitBias(const v1::SamplingParams& sampling,
                                                      uint32_t vocab_size, RequestErrors* errors) {
  std::vector<std::pair<TokenId, float>> out;
  if (sampling.logit_bias_size() > kMaxBiasedTokens) {
    errors->Add("sampling.logit_bias", absl::StrCat("must have at most ", kMaxBiasedTokens,
                                                    " tokens, has ", sampling.logit_bias_size()));
    return out;
  }
  // The map of the message has another order each time.
  const std::map<uint32_t, double> ascending(sampling.logit_bias().begin(),
                                             sampling.logit_bias().end());
  for (const auto& [token, bias] : ascending) {
    const std::string field = absl::StrCat("sampling.logit_bias[", token, "]");
    if (token >= vocab_size) {
      errors->Add(field, absl::StrCat("must be a token id below ", vocab_size));
    }
    Check(std::abs(bias) <= kMaxBias, field.c_str(), "-100..100", bias, errors);
    out.emplace_back(static_cast<TokenId>(token), static_cast<float>(bias));
  }
  return out;
}

model::SamplingParams ParseSampling(const v1::SamplingParams& sampling,
                                    const experiment::Serving& serving, RequestErrors* errors) {
  const uint32_t vocab_size = static_cast<uint32_t>(serving.model.vocab_size);
  model::SamplingParams out = serving.sampling_defaults;
  if (sampling.has_temperature()) out.temperature = sampling.temperature();
  if (sampling.has_top_p()) out.top_p = sampling.top_p();
  if (sampling.has_min_p()) out.min_p = sampling.min_p();
  if (sampling.has_repetition_penalty()) out.repetition_penalty = sampling.repetition_penalty();
  if (sampling.has_presence_penalty()) out.presence_penalty = sampling.presence_penalty();
  if (sampling.has_frequency_penalty()) out.frequency_penalty = sampling.frequency_penalty();
  // More than the vocabulary is all of it.
  if (sampling.has_top_k()) out.top_k = static_cast<int>(std::min(sampling.top_k(), vocab_size));
  out.seed = sampling.has_seed() ? sampling.seed() : RandomBits();
  out.logit_bias = ParseLogitBias(sampling, vocab_size, errors);
  Check(out.temperature >= 0 && std::isfinite(out.temperature), "sampling.temperature",
        ">= 0 and finite", out.temperature, errors);
  Check(out.top_p > 0 && out.top_p <= 1, "sampling.top_p", "> 0 and <= 1", out.top_p, errors);
  Check(out.min_p >= 0 && out.min_p <= 1, "sampling.min_p", "0..1", out.min_p, errors);
  Check(out.repetition_penalty > 0 && std::isfinite(out.repetition_penalty),
        "sampling.repetition_penalty", "> 0 and finite", out.repetition_penalty, errors);
  Check(std::abs(out.presence_penalty) <= kMaxPenalty, "sampling.presence_penalty", "-2..2",
        out.presence_penalty, errors);
  Check(std::abs(out.frequency_penalty) <= kMaxPenalty, "sampling.frequency_penalty", "-2..2",
        out.frequency_penalty, errors);
  return out;
}

std::vector<std::string> ParseStop(const v1::GenerateRequest& request,
                                   const experiment::Serving& serving, RequestErrors* errors) {
  if (request.stop_size() > kMaxStopStrings) {
    errors->Add("stop", absl::StrCat("must have at most ", kMaxStopStrings, " strings, has ",
                                     request.stop_size()));
    return {};
  }
  for (int i = 0; i < request.stop_size(); ++i) {
    const size_t bytes = request.stop(i).size();
    if (bytes >= 1 && bytes <= kMaxStopBytes) continue;
    errors->Add(absl::StrCat("stop[", i, "]"),
                absl::StrCat("must be 1..", kMaxStopBytes, " bytes, is ", bytes));
  }
  if (request.stop_size() > 0) errors->Add(RequireTokenizer(serving, "stop"));
  return {request.stop().begin(), request.stop().end()};
}

std::vector<TokenId> ParseStopTokens(const v1::GenerateRequest& request,
                                     const experiment::Serving& serving, RequestErrors* errors) {
  if (request.stop_token_ids_size() > kMaxStopTokens) {
    errors->Add("stop_token_ids", absl::StrCat("must have at most ", kMaxStopTokens, " ids, has ",
                                               request.stop_token_ids_size()));
    return {};
  }
  return ParseTokenIds(request.stop_token_ids(), "stop_token_ids", serving, errors);
}

int ParseChoices(const v1::GenerateRequest& request, RequestErrors* errors) {
  const uint32_t n = request.has_n() ? request.n() : 1;
  if (n < 1 || n > kMaxChoices) {
    errors->Add("n", absl::StrCat("must be 1..", kMaxChoices, ", is ", n));
    return 1;
  }
  if (n > 1 && request.max_new_tokens() == 0) {
    errors->Add("n", absl::StrCat("must be 1 where max_new_tokens is 0, is ", n));
  }
  return static_cast<int>(n);
}

// Nullopt after an error.
std::optional<int> ParseMaxNewTokens(const v1::GenerateRequest& request, size_t prompt_tokens,
                                     int max_context, RequestErrors* errors) {
  const uint32_t max_new_tokens = request.max_new_tokens();
  if (max_new_tokens == 0 && !request.has_prompt_logprobs()) {
    errors->Add("max_new_tokens", "must be >= 1, is 0 (without prompt_logprobs)");
    return std::nullopt;
  }
  const uint64_t needed = prompt_tokens + uint64_t{max_new_tokens};
  if (needed <= static_cast<uint64_t>(max_context)) return static_cast<int>(max_new_tokens);
  errors->Add(WithErrorInfo(absl::OutOfRangeError(absl::StrCat(
                                "the prompt of ", prompt_tokens, " tokens and ", max_new_tokens,
                                " new tokens exceed the context of ", max_context, " tokens")),
                            "CONTEXT_LENGTH_EXCEEDED",
                            {{"prompt_tokens", absl::StrCat(prompt_tokens)},
                             {"max_new_tokens", absl::StrCat(max_new_tokens)},
                             {"max_context", absl::StrCat(max_context)}}));
  return std::nullopt;
}

}  // namespace

absl::StatusOr<GenerateInput> ParseGenerate(const v1::GenerateRequest& request,
                                            const experiment::Serving& serving,
                                            const Interrupt& interrupt) {
  RequestErrors errors;
  GenerateInput input;
  engine::GenerateWork& work = input.work;
  input.request_id = ParseRequestId(request.request_id(), &errors);
  work.prompt = ParsePrompt(request, serving, interrupt, &errors);
  work.sampling = ParseSampling(request.sampling(), serving, &errors);
  work.stop = ParseStop(request, serving, &errors);
  work.stop_token_ids = ParseStopTokens(request, serving, &errors);
  work.ignore_eos = request.ignore_eos();
  work.logprobs = request.has_logprobs();
  work.top_logprobs = ParseTop(request.logprobs(), "logprobs", &errors);
  if (request.has_prompt_logprobs()) {
    work.prompt_logprobs = ParseTop(request.prompt_logprobs(), "prompt_logprobs", &errors);
  }
  work.include_stop = request.include_stop();
  work.skip_special_tokens = !request.has_skip_special_tokens() || request.skip_special_tokens();
  work.num_choices = ParseChoices(request, &errors);
  work.trace = FromProto(request.trace());
  input.routing = ParseRouting(request.routing(), request.unit_id(), serving, &errors);
  input.routing.routing_seed = request.routing_seed();
  const std::optional<int> max_new_tokens =
      ParseMaxNewTokens(request, work.prompt.size(), serving.model.max_context, &errors);
  work.max_new_tokens = max_new_tokens.value_or(0);
  if (!work.prompt.empty() && max_new_tokens.has_value()) {
    const size_t num_tokens = work.prompt.size() + static_cast<size_t>(*max_new_tokens);
    CheckReplayFits(request.routing(), num_tokens, serving, &errors);
  }
  if (!errors.empty()) return errors.ToStatus();
  return input;
}

}  // namespace olmoe::api
