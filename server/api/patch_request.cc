#include "server/api/patch_request.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/rpc/error_details.pb.h"
#include "server/api/request_fields.h"
#include "server/api/routing_proto.h"
#include "server/api/time_proto.h"
#include "server/util/sha256.h"

namespace olmoe::api {
namespace {

constexpr size_t kMaxKeyBytes = 128;
constexpr absl::Duration kMinTtl = absl::Milliseconds(1);
constexpr absl::Duration kMaxTtl = absl::Hours(24 * 3660);
constexpr char kBadRequest[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kPreconditionFailure[] = "type.googleapis.com/google.rpc.PreconditionFailure";

// Names, numbers, code and two languages: experts of several kinds have work.
constexpr char kBuiltInPrompt[] =
    "In 1911 Marie Curie received her second Nobel Prize. The function f(x) = 3x + 2 maps 5 to 17. "
    "for (int i = 0; i < n; ++i) sum += a[i]; Guten Morgen, wie geht es dir? The answer is";
constexpr TokenId kBuiltInTokens = 16;  // ids 1..16 where there is no tokenizer

// A policy for all traffic is a plan of one arm.
routing::PlanSpec SinglePolicyPlan(const v1::RoutingPolicy& policy, RequestErrors* errors) {
  routing::PlanSpec plan;
  routing::ArmSpec& arm = plan.arms.emplace_back();
  arm.arm_id = std::string(routing::kDefaultArmId);
  arm.weight = 1;
  arm.policy = ToPolicySpec(policy, "policy", errors);
  return plan;
}

routing::PlanSpec ParseTarget(const v1::PatchRoutersRequest& request, RequestErrors* errors) {
  switch (request.target_case()) {
    case v1::PatchRoutersRequest::kPolicy: return SinglePolicyPlan(request.policy(), errors);
    case v1::PatchRoutersRequest::kPlan: return ToPlanSpec(request.plan(), "plan", errors);
    case v1::PatchRoutersRequest::TARGET_NOT_SET: break;
  }
  errors->Add("target", "policy or plan must be set");
  return {};
}

// Fields that PatchRouters and UnpatchRouters share.
template <class Request>
routing::PatchOptions ParseOptions(const Request& request, RequestErrors* errors) {
  routing::PatchOptions options;
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  if (!request.has_wait_for_drain()) return options;
  options.wait_for_drain = FromProto(request.wait_for_drain());
  if (!options.wait_for_drain) errors->Add("wait_for_drain", "must be a duration >= 0");
  return options;
}

// At most 128 printable ASCII bytes; an empty one is none.
routing::IdempotencyKey ParseIdempotencyKey(const v1::PatchRoutersRequest& request,
                                            RequestErrors* errors) {
  routing::IdempotencyKey out;
  const std::string& key = request.idempotency_key();
  if (key.empty()) return out;
  if (key.size() > kMaxKeyBytes ||
      !std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; })) {
    errors->Add("idempotency_key",
                absl::StrCat("must be at most ", kMaxKeyBytes, " printable ASCII characters"));
    return out;
  }
  v1::PatchRoutersRequest content = request;
  content.clear_idempotency_key();
  out.key = key;
  out.request_digest = Sha256Hex(content.SerializeAsString());
  return out;
}

std::vector<TokenId> BuiltInPrompt(const experiment::Serving& serving, RequestErrors* errors) {
  std::vector<TokenId> prompt;
  if (serving.tokenizer != nullptr) {
    prompt = EncodeText(kBuiltInPrompt, "probe", true, serving, errors);
  } else {
    for (TokenId id = 1; id <= kBuiltInTokens; ++id) {
      prompt.push_back(id % serving.model.vocab_size);
    }
  }
  prompt.resize(std::min(prompt.size(), static_cast<size_t>(serving.model.max_context)));
  return prompt;
}

// Fields are named "probe...". Without text: the built-in prompt, which for a model without
// tokenizer is a row of token ids.
experiment::ProbeInput ParseProbe(const v1::Probe& probe, const experiment::Serving& serving,
                                  RequestErrors* errors) {
  experiment::ProbeInput input;
  input.require_change = probe.require_change();
  if (probe.text().empty()) {
    input.prompt = BuiltInPrompt(serving, errors);
    return input;
  }
  const int errors_before = errors->num_added();
  input.prompt = EncodeText(probe.text(), "probe.text", true, serving, errors);
  if (errors->num_added() > errors_before) return input;
  const size_t limit =
      std::min(experiment::kMaxProbeTokens, static_cast<size_t>(serving.model.max_context));
  if (input.prompt.empty() || input.prompt.size() > limit) {
    errors->Add("probe.text",
                absl::StrCat("must be 1..", limit, " tokens, is ", input.prompt.size()));
  }
  return input;
}

std::string AsOnePolicy(std::string_view text) {
  return absl::StrReplaceAll(std::string(text), {{"plan.arms[0].policy", "policy"}});
}

// The detail with the fields that it names, or tells of, below "policy".
absl::Cord DetailAsOnePolicy(absl::string_view url, const absl::Cord& detail) {
  google::rpc::BadRequest bad;
  google::rpc::PreconditionFailure precondition;
  if (url == kBadRequest && bad.ParseFromString(std::string(detail))) {
    for (auto& violation : *bad.mutable_field_violations()) {
      violation.set_field(AsOnePolicy(violation.field()));
    }
    return absl::Cord(bad.SerializeAsString());
  }
  if (url == kPreconditionFailure && precondition.ParseFromString(std::string(detail))) {
    for (auto& violation : *precondition.mutable_violations()) {
      violation.set_description(AsOnePolicy(violation.description()));
    }
    return absl::Cord(precondition.SerializeAsString());
  }
  return detail;
}

// `status` with its fields, in the message and in its details, named below "policy".
absl::Status AsOnePolicy(const absl::Status& status) {
  absl::Status out(status.code(),
                   AsOnePolicy(std::string_view(status.message().data(), status.message().size())));
  status.ForEachPayload([&out](absl::string_view url, const absl::Cord& detail) {
    out.SetPayload(url, DetailAsOnePolicy(url, detail));
  });
  return out;
}

}  // namespace

absl::StatusOr<routing::PatchResult> PatchRequest::AsNamed(
    absl::StatusOr<routing::PatchResult> result) const {
  if (!is_one_policy) return result;
  if (!result.ok()) return AsOnePolicy(result.status());
  for (std::string& warning : result->warnings) warning = AsOnePolicy(warning);
  return result;
}

absl::StatusOr<PatchRequest> ParsePatch(const v1::PatchRoutersRequest& request,
                                        const experiment::Serving& serving) {
  RequestErrors errors;
  PatchRequest patch;
  patch.plan = ParseTarget(request, &errors);
  patch.is_one_policy = request.has_policy();
  patch.options = ParseOptions(request, &errors);
  patch.options.validate_only = request.validate_only();
  if (request.has_ttl()) patch.options.ttl = ParseTtl(request.ttl(), &errors);
  patch.options.idempotency = ParseIdempotencyKey(request, &errors);
  if (request.has_probe()) patch.probe = ParseProbe(request.probe(), serving, &errors);
  if (!errors.empty()) return errors.ToStatus();
  return patch;
}

absl::StatusOr<routing::PatchOptions> ParseUnpatch(const v1::UnpatchRoutersRequest& request) {
  RequestErrors errors;
  routing::PatchOptions options = ParseOptions(request, &errors);
  if (!errors.empty()) return errors.ToStatus();
  return options;
}

absl::StatusOr<routing::PatchOptions> ParseRollback(const v1::RollbackRoutingRequest& request) {
  RequestErrors errors;
  routing::PatchOptions options;
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  if (request.has_ttl()) options.ttl = ParseTtl(request.ttl(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  return options;
}

absl::Duration ParseTtl(const google::protobuf::Duration& ttl, RequestErrors* errors) {
  const std::optional<absl::Duration> duration = FromProto(ttl);
  if (duration && *duration >= kMinTtl && *duration <= kMaxTtl) return *duration;
  errors->Add("ttl", "must be a duration of 1 ms..10 years");
  return kMinTtl;
}

}  // namespace olmoe::api
