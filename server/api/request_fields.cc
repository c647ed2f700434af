#include "server/api/request_fields.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/api/policy_proto.h"
#include "server/api/replay_proto.h"
#include "server/routing/controller.h"
#include "server/text/tokenizer.h"
#include "server/util/random.h"
#include "server/util/status_details.h"

namespace olmoe::api {
namespace {

constexpr size_t kMaxRequestIdBytes = 64;
constexpr int kMaxListedIds = 8;
constexpr char kReplayField[] = "routing.replay";

bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

void CheckVocabulary(const std::vector<TokenId>& ids, const std::string& field,
                     const experiment::Serving& serving, RequestErrors* errors) {
  for (const TokenId id : ids) {
    if (id < serving.model.vocab_size) continue;
    errors->Add(field, absl::StrCat("holds text whose token ", id, " the model does not have (",
                                    serving.model.vocab_size, " tokens)"));
    return;
  }
}

// False, with an error, where requests may not bring their own routing. `what`: in words.
bool InlineIsAllowed(const char* what, const experiment::Serving& serving, RequestErrors* errors) {
  if (serving.allow_inline_policy) return true;
  errors->Add(WithErrorInfo(
      absl::PermissionDeniedError(absl::StrCat("this server does not take ", what,
                                               " (it was started without --allow-inline-policy)")),
      "INLINE_POLICY_NOT_ALLOWED"));
  return false;
}

std::shared_ptr<const routing::RoutingPolicy> CompileInline(const v1::RoutingPolicy& policy,
                                                            const char* field,
                                                            const experiment::Serving& serving,
                                                            RequestErrors* errors) {
  auto compiled = routing::RoutingPolicy::Create(ToPolicySpec(policy, field, errors),
                                                 serving.controller->shape(),
                                                 {serving.calibrations, serving.routers}, field);
  errors->Add(compiled.status());
  return compiled.ok() ? *std::move(compiled) : nullptr;
}

}  // namespace

bool IsRequestId(std::string_view request_id) {
  return request_id.size() <= kMaxRequestIdBytes && IsPrintableAscii(request_id);
}

std::string ParseRequestId(const std::string& request_id, RequestErrors* errors) {
  if (request_id.empty()) return NewRequestId();
  if (request_id.size() > kMaxRequestIdBytes) {
    errors->Add("request_id", absl::StrCat("must be at most ", kMaxRequestIdBytes, " bytes, is ",
                                           request_id.size()));
  } else if (!IsPrintableAscii(request_id)) {
    errors->Add("request_id", "must be printable ASCII");
  }
  return request_id;
}

std::vector<TokenId> ParseTokenIds(const google::protobuf::RepeatedField<uint32_t>& ids,
                                   const std::string& field, const experiment::Serving& serving,
                                   RequestErrors* errors) {
  const uint32_t vocab_size = static_cast<uint32_t>(serving.model.vocab_size);
  std::vector<TokenId> out;
  out.reserve(static_cast<size_t>(ids.size()));
  int bad = 0;
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab_size) {
      out.push_back(static_cast<TokenId>(ids[i]));
    } else if (++bad <= kMaxListedIds) {
      errors->Add(absl::StrCat(field, "[", i, "]"),
                  absl::StrCat("must be < ", vocab_size, ", is ", ids[i]));
    }
  }
  if (bad > kMaxListedIds) {
    errors->Add(field, absl::StrCat(bad - kMaxListedIds, " more ids are not < ", vocab_size));
  }
  return out;
}

absl::Status RequireTokenizer(const experiment::Serving& serving, const std::string& field) {
  if (serving.tokenizer != nullptr) return absl::OkStatus();
  return WithPrecondition(
      absl::FailedPreconditionError(absl::StrCat(
          field, " holds text, and the model directory has no tokenizer.json: send token ids")),
      "TOKENIZER", serving.model.model_id);
}

std::vector<TokenId> EncodeText(std::string_view text, const std::string& field,
                                bool add_special_tokens, const experiment::Serving& serving,
                                RequestErrors* errors, const Interrupt& interrupt) {
  if (absl::Status status = RequireTokenizer(serving, field); !status.ok()) {
    errors->Add(status);
    return {};
  }
  absl::StatusOr<text::Encoding> encoding =
      serving.tokenizer->Encode(text, {.add_special_tokens = add_special_tokens,
                                       .interrupt = [&interrupt] { return interrupt.Check(); }});
  if (absl::IsInvalidArgument(encoding.status())) {
    errors->Add(field, std::string(encoding.status().message()));
    return {};
  }
  if (!encoding.ok()) {
    errors->Add(encoding.status());
    return {};
  }
  CheckVocabulary(encoding->ids, field, serving, errors);
  return std::move(encoding->ids);
}

absl::Status CheckTextFits(const std::vector<TokenId>& ids, const experiment::Serving& serving) {
  int64_t text_bytes = 0;
  for (const TokenId id : ids) {
    text_bytes += static_cast<int64_t>(serving.tokenizer->TokenBytes(id).size());
  }
  if (text_bytes <= serving.max_response_bytes) return absl::OkStatus();
  return WithErrorInfo(
      absl::OutOfRangeError(absl::StrCat("the text has ", text_bytes, " bytes, more than ",
                                         serving.max_response_bytes, ": send fewer ids")),
      "RESPONSE_TOO_LARGE",
      {{"response_bytes", absl::StrCat(text_bytes)},
       {"max_response_bytes", absl::StrCat(serving.max_response_bytes)}});
}

int ParseTop(uint32_t top, const std::string& field, RequestErrors* errors) {
  if (top <= kMaxTopLogprobs) return static_cast<int>(top);
  errors->Add(field, absl::StrCat("must be 0..", kMaxTopLogprobs, ", is ", top));
  return 0;
}

experiment::RoutingChoice ParseRouting(const v1::RoutingSelector& selector,
                                       const std::string& unit_id,
                                       const experiment::Serving& serving, RequestErrors* errors) {
  experiment::RoutingChoice choice;
  choice.unit_id = unit_id;
  if (unit_id.size() > kMaxUnitIdBytes) {
    errors->Add("unit_id",
                absl::StrCat("must be at most ", kMaxUnitIdBytes, " bytes, is ", unit_id.size()));
  }
  if (selector.choice_case() == v1::RoutingSelector::kArmId) choice.arm_id = selector.arm_id();
  if (selector.choice_case() == v1::RoutingSelector::kPolicy &&
      InlineIsAllowed("inline policies", serving, errors)) {
    choice.inline_policy = CompileInline(selector.policy(), "routing.policy", serving, errors);
  }
  if (selector.choice_case() == v1::RoutingSelector::kReplay &&
      InlineIsAllowed("replays", serving, errors)) {
    const v1::Replay& replay = selector.replay();
    choice.replay = ParseReplay(replay, kReplayField, serving.controller->shape(), errors);
    choice.inline_policy =
        replay.has_otherwise()
            ? CompileInline(replay.otherwise(), "routing.replay.otherwise", serving, errors)
            : serving.controller->native_policy();
  }
  return choice;
}

void CheckReplayFits(const v1::RoutingSelector& selector, size_t num_tokens,
                     const experiment::Serving& serving, RequestErrors* errors) {
  if (!selector.has_replay() || !serving.allow_inline_policy) return;
  const size_t positions = selector.replay().trace().num_positions();
  if (positions <= num_tokens) return;
  errors->Add(absl::StrCat(kReplayField, ".trace.num_positions"),
              absl::StrCat("must be at most the ", num_tokens,
                           " tokens that the request can have, is ", positions));
}

}  // namespace olmoe::api
