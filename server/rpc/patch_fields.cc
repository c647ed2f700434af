#include "server/rpc/patch_fields.h"

#include <algorithm>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/routing_proto.h"
#include "server/rpc/time_proto.h"
#include "server/util/sha256.h"

namespace olmoe::rpc {
namespace {

constexpr size_t kMaxKeyBytes = 128;
constexpr absl::Duration kMinTtl = absl::Milliseconds(1);
constexpr absl::Duration kMaxTtl = absl::Hours(24 * 3660);

std::string_view OutcomeName(const absl::StatusOr<routing::PatchResult>& result) {
  if (absl::IsAborted(result.status())) return "conflict";
  if (!result.ok()) return "rejected";
  return result->changed ? "applied" : "unchanged";
}

void Report(const absl::StatusOr<routing::PatchResult>& result, const ServiceContext& context) {
  if (!context.on_swap) return;
  context.on_swap({OutcomeName(result),
                   result.ok() ? result->swap_duration : absl::ZeroDuration()});
}

// The answer that was kept; what this call has to add is its warnings.
absl::StatusOr<v1::PatchRoutersResponse> FirstAnswer(const routing::PatchResult& result) {
  v1::PatchRoutersResponse response;
  if (!response.ParseFromString(*result.first_answer)) {
    return absl::DataLossError("the answer kept for this idempotency_key is not readable");
  }
  response.mutable_warnings()->Add(result.warnings.begin(), result.warnings.end());
  return response;
}

}  // namespace

std::optional<absl::Duration> ParseWait(bool has_wait, const google::protobuf::Duration& wait,
                                        RequestErrors* errors) {
  if (!has_wait) return std::nullopt;
  const std::optional<absl::Duration> duration = FromProto(wait);
  if (!duration) errors->Add("wait_for_drain", "must be a duration >= 0");
  return duration;
}

absl::Duration ParseTtl(const google::protobuf::Duration& ttl, RequestErrors* errors) {
  const std::optional<absl::Duration> duration = FromProto(ttl);
  if (duration && *duration >= kMinTtl && *duration <= kMaxTtl) return *duration;
  errors->Add("ttl", "must be a duration of 1 ms..10 years");
  return kMinTtl;
}

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

v1::PatchRoutersResponse ToProto(const routing::PatchResult& result,
                                 const ServiceContext& context) {
  v1::PatchRoutersResponse response;
  *response.mutable_current() = ToProto(
      result.record, context.controller->slot().InFlight(result.record.generation));
  response.set_previous_generation(result.previous_generation);
  response.set_in_flight_on_previous(static_cast<uint64_t>(result.in_flight_on_previous));
  *response.mutable_swap_duration() = ToProto(result.swap_duration);
  response.set_changed(result.changed);
  response.mutable_warnings()->Add(result.warnings.begin(), result.warnings.end());
  return response;
}

absl::StatusOr<v1::PatchRoutersResponse> AnswerOf(
    const absl::StatusOr<routing::PatchResult>& result, const ServiceContext& context) {
  Report(result, context);
  if (!result.ok()) return result.status();
  if (result->first_answer) return FirstAnswer(*result);
  return ToProto(*result, context);
}

}  // namespace olmoe::rpc
