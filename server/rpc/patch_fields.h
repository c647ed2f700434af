// Fields that the calls which change the plan share, and their answer.
#ifndef OLMOE_SERVER_RPC_PATCH_FIELDS_H_
#define OLMOE_SERVER_RPC_PATCH_FIELDS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "olmoe/v1/admin.pb.h"
#include "server/routing/controller.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// nullopt where `has_wait` is false.
std::optional<absl::Duration> ParseWait(bool has_wait, const google::protobuf::Duration& wait,
                                        RequestErrors* errors);
// A time to live, 1 ms..10 years; field "ttl".
absl::Duration ParseTtl(const google::protobuf::Duration& ttl, RequestErrors* errors);
// At most 128 printable ASCII bytes; an empty one is none. `encode` is left to the caller.
routing::IdempotencyKey ParseIdempotencyKey(const v1::PatchRoutersRequest& request,
                                            RequestErrors* errors);

// What is told of a call that changed the plan, or would have.
v1::PatchRoutersResponse ToProto(const routing::PatchResult& result,
                                 const ServiceContext& context);
// The same for one that may have been refused; counts it.
absl::StatusOr<v1::PatchRoutersResponse> AnswerOf(
    const absl::StatusOr<routing::PatchResult>& result, const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_PATCH_FIELDS_H_
