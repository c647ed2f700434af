#include "server/completions/reply_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "olmoe/v1/routing.pb.h"
#include "server/api/routing_proto.h"
#include "server/completions/errors.h"
#include "server/completions/json_writer.h"
#include "server/util/utf8.h"

namespace olmoe::completions {
namespace {

std::string Base64(const std::string& bytes) { return absl::Base64Escape(bytes); }

// Version 1.0 of the format: magic, the length of the header, the header (a Python dictionary,
// padded so that the data is aligned), the data. REQUIRES: every position has equally many experts.
std::string NumpyFile(const engine::RoutingTrace& trace) {
  constexpr size_t kBegin = 10, kAlignment = 64;
  std::string header =
      absl::StrCat("{'descr': '<i2', 'fortran_order': False, 'shape': (", trace.num_positions, ", ",
                   trace.num_layers, ", ", int{trace.counts.front()}, "), }");
  while ((kBegin + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", kBegin - 2);
  file.push_back(static_cast<char>(header.size() & 0xFF));
  file.push_back(static_cast<char>(header.size() >> 8));
  file += header;
  for (const uint8_t expert : trace.experts) file.append({static_cast<char>(expert), '\0'});
  return file;
}

std::string EventOf(std::string json) { return absl::StrCat("data: ", json, "\n\n"); }

// "split" of ASSIGNMENT_REASON_SPLIT.
std::string ReasonName(v1::AssignmentReason reason) {
  constexpr std::string_view kPrefix = "ASSIGNMENT_REASON_";
  return absl::AsciiStrToLower(v1::AssignmentReason_Name(reason).substr(kPrefix.size()));
}

const char* FinishName(engine::FinishReason reason) {
  return reason == engine::FinishReason::kLength ? "length" : "stop";
}

}  // namespace

std::string StampJson(uint64_t generation, const routing::Assignment& assignment) {
  const v1::RoutingStamp stamp = api::ToProto(generation, assignment);
  JsonWriter json;
  json.BeginObject().Key("generation").Integer(static_cast<int64_t>(stamp.generation()));
  json.Key("arm_id").String(stamp.arm_id());
  json.Key("policy_id").String(stamp.policy_id());
  json.Key("policy_digest").String(stamp.policy_digest());
  json.Key("reason").String(ReasonName(stamp.reason()));
  if (!stamp.trace_digest().empty()) json.Key("trace_digest").String(stamp.trace_digest());
  return json.EndObject().Take();
}

std::string RoutedExpertsJson(const engine::RoutingTrace& trace) {
  const bool constant =
      !trace.counts.empty() && std::ranges::all_of(trace.counts, [&](uint8_t count) {
        return count == trace.counts.front();
      });
  if (constant) return JsonWriter().String(Base64(NumpyFile(trace))).Take();
  const auto bytes = [](const std::vector<uint8_t>& values) {
    return std::string(values.begin(), values.end());
  };
  JsonWriter json;
  json.BeginObject().Key("dtype").String("uint8").Key("positions").Integer(trace.num_positions);
  json.Key("layers").Integer(trace.num_layers);
  json.Key("counts").String(Base64(bytes(trace.counts)));
  json.Key("experts").String(Base64(bytes(trace.experts)));
  return json.EndObject().Take();
}

ReplyWriter::ReplyWriter(const CompletionRequest& call, Options options)
    : options_(std::move(options)),
      id_("cmpl-" + call.request_id),
      stream_(call.stream),
      include_usage_(call.include_usage),
      echo_(call.echo),
      logprobs_(call.logprobs),
      routed_experts_(call.routed_experts),
      token_ids_(call.token_ids),
      num_choices_(static_cast<size_t>(call.prompts.front().num_choices)) {
  for (const engine::GenerateWork& work : call.prompts) {
    Prompt& prompt = prompts_.emplace_back(options_.tokenizer);
    prompt.num_tokens = work.prompt.size();
    if (token_ids_) prompt.token_ids = work.prompt;
    if (echo_) BeginEcho(work.prompt, &prompt);
    for (size_t i = 0; i < num_choices_; ++i) {
      prompt.choices.emplace_back(options_.tokenizer, options_.skip_special_tokens,
                                  prompt.text_code_points);
    }
  }
}

void ReplyWriter::BeginEcho(const std::vector<TokenId>& tokens, Prompt* prompt) const {
  TextOffsets offsets(options_.tokenizer, options_.skip_special_tokens, 0);
  for (const TokenId token : tokens) offsets.Add(token, &prompt->text);
  prompt->text_code_points = offsets.End(&prompt->text);
  if (!logprobs_) return;
  prompt->offsets.emplace(options_.tokenizer, options_.skip_special_tokens, 0);
  const TokenId first = tokens.front();
  prompt->arrays.Add(first, std::nullopt, {}, prompt->offsets->Add(first));
}

void ReplyWriter::AddScores(const std::vector<engine::ScoredToken>& scores, Prompt* prompt) const {
  if (!prompt->offsets) return;
  for (const engine::ScoredToken& score : scores) {
    prompt->arrays.Add(score.token, score.logprob, score.top, prompt->offsets->Add(score.token));
  }
}

void ReplyWriter::AddTokens(const std::vector<engine::GeneratedToken>& tokens,
                            Choice* choice) const {
  for (const engine::GeneratedToken& token : tokens) {
    if (token_ids_) choice->token_ids.push_back(token.token);
  }
  if (!logprobs_) return;
  for (const engine::GeneratedToken& token : tokens) {
    choice->arrays.Add(token.token, token.logprob, token.top, choice->offsets.Add(token.token));
  }
}

void ReplyWriter::Add(size_t prompt_index, engine::GenerateDelta delta) {
  Prompt& prompt = prompts_[prompt_index];
  const size_t number = static_cast<size_t>(delta.choice);
  Choice& choice = prompt.choices[number];
  AddScores(delta.prompt_tokens, &prompt);
  if (routed_experts_) choice.trace.Append(std::move(delta.trace));
  const bool is_prompt_only = delta.tokens.empty() && delta.text.empty() && !delta.end;
  if (is_prompt_only) return;
  if (echo_ && !std::exchange(choice.begun, true)) {
    choice.text = prompt.text;
    choice.arrays.Append(prompt.arrays);
  }
  choice.text += delta.text;
  AddTokens(delta.tokens, &choice);
  choice.end = std::move(delta.end);
  if (choice.end) ++num_ended_;
  if (stream_) WriteEvent(prompt_index * num_choices_ + number, prompt, &choice);
}

void ReplyWriter::WriteChoice(size_t index, const Prompt& prompt, Choice* choice,
                              JsonWriter* json) const {
  json->BeginObject().Key("index").Integer(static_cast<int64_t>(index));
  json->Key("text").String(choice->text);
  json->Key("logprobs");
  logprobs_ ? json->Raw(choice->arrays.Json()) : json->Null();
  json->Key("finish_reason");
  choice->end ? json->String(FinishName(choice->end->finish_reason)) : json->Null();
  json->Key("stop_reason");
  const bool has_stop = choice->end && !choice->end->matched_stop.empty();
  has_stop ? json->String(choice->end->matched_stop) : json->Null();
  if (token_ids_) WriteTokenIds(prompt, choice, json);
  if (routed_experts_ && choice->end) {
    // The prompt was routed once, for the first choice.
    engine::RoutingTrace trace;
    const engine::RoutingTrace& first = prompt.choices.front().trace;
    if (choice->trace.num_positions == 0 || choice->trace.first_position > 0) {
      const int shared = std::min(first.num_positions, static_cast<int>(prompt.num_tokens));
      trace = first.Slice(0, shared);
    }
    trace.Append(choice->trace);
    json->Key("routed_experts").Raw(RoutedExpertsJson(trace));
  }
  json->EndObject();
  choice->text.clear();
  choice->arrays.Clear();
}

void ReplyWriter::WriteTokenIds(const Prompt& prompt, Choice* choice, JsonWriter* json) const {
  const auto write = [json](const char* name, const std::vector<TokenId>& ids) {
    json->Key(name).BeginArray();
    for (const TokenId id : ids) json->Integer(id);
    json->EndArray();
  };
  write("token_ids", std::exchange(choice->token_ids, {}));
  if (!std::exchange(choice->written, true)) write("prompt_token_ids", prompt.token_ids);
}

void ReplyWriter::WriteHead(JsonWriter* json) const {
  json->BeginObject().Key("id").String(id_).Key("object").String("text_completion");
  json->Key("created").Integer(options_.created).Key("model").String(options_.model);
}

void ReplyWriter::WriteEvent(size_t index, const Prompt& prompt, Choice* choice) {
  // A character that is not whole yet has no text to send.
  if (choice->text.empty() && choice->arrays.empty() && !choice->end) return;
  JsonWriter json;
  WriteHead(&json);
  json.Key("choices").BeginArray();
  WriteChoice(index, prompt, choice, &json);
  json.EndArray();
  if (include_usage_) json.Key("usage").Null();
  const bool is_last = all_ended() && !include_usage_;
  if (!std::exchange(stamped_, true) || is_last) json.Key("routing").Raw(stamp_);
  events_ += EventOf(json.EndObject().Take());
}

void ReplyWriter::Done(const engine::Completion& completion) {
  prompt_tokens_ += completion.prompt_tokens;
  completion_tokens_ += completion.completion_tokens;
  cached_tokens_ += completion.cached_prompt_tokens;
  if (++num_done_ < prompts_.size() || !stream_) return;
  if (include_usage_) {
    JsonWriter json;
    WriteHead(&json);
    json.Key("choices").BeginArray().EndArray();
    json.Key("usage").Raw(UsageJson()).Key("routing").Raw(stamp_);
    events_ += EventOf(json.EndObject().Take());
  }
  events_ += EventOf("[DONE]");
}

std::string ReplyWriter::UsageJson() const {
  const auto integer = [](uint64_t value) { return static_cast<int64_t>(value); };
  JsonWriter json;
  json.BeginObject().Key("prompt_tokens").Integer(integer(prompt_tokens_));
  json.Key("completion_tokens").Integer(integer(completion_tokens_));
  json.Key("total_tokens").Integer(integer(prompt_tokens_ + completion_tokens_));
  json.Key("prompt_tokens_details").BeginObject();
  json.Key("cached_tokens").Integer(integer(cached_tokens_)).EndObject();
  return json.EndObject().Take();
}

std::string ReplyWriter::TakeEvents() { return std::exchange(events_, ""); }

std::string ReplyWriter::TakeReply() {
  JsonWriter json;
  WriteHead(&json);
  json.Key("choices").BeginArray();
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
    for (size_t choice = 0; choice < num_choices_; ++choice) {
      WriteChoice(prompt * num_choices_ + choice, prompts_[prompt],
                  &prompts_[prompt].choices[choice], &json);
    }
  }
  json.EndArray().Key("usage").Raw(UsageJson()).Key("routing").Raw(stamp_);
  return json.EndObject().Take();
}

std::string ReplyWriter::ErrorEvent(const absl::Status& status) {
  return EventOf(ErrorJson(status));
}

}  // namespace olmoe::completions
