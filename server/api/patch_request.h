// The fields of the calls that change the plan.
#ifndef OLMOE_SERVER_API_PATCH_REQUEST_H_
#define OLMOE_SERVER_API_PATCH_REQUEST_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/request_errors.h"
#include "server/experiment/probe.h"
#include "server/experiment/serving.h"
#include "server/routing/controller.h"

namespace olmoe::api {

// A PatchRoutersRequest whose own fields are checked; the controller checks the plan's.
struct PatchRequest {
  routing::PlanSpec plan;
  routing::PatchOptions options;  // without actor and examine
  std::optional<experiment::ProbeInput> probe;
  // The request named one policy, which is the plan's only arm's.
  bool is_one_policy = false;

  // What the controller says of `plan`, with its fields named as the client wrote them:
  // "policy.apply.top_k.k" and not "plan.arms[0].policy.apply.top_k.k".
  absl::StatusOr<routing::PatchResult> AsNamed(absl::StatusOr<routing::PatchResult> result) const;
};

// Errors: INVALID_ARGUMENT with every violation; FAILED_PRECONDITION for a probe's text without a
// tokenizer.
absl::StatusOr<PatchRequest> ParsePatch(const v1::PatchRoutersRequest& request,
                                        const experiment::Serving& serving);
// Without actor. Errors: INVALID_ARGUMENT.
absl::StatusOr<routing::PatchOptions> ParseUnpatch(const v1::UnpatchRoutersRequest& request);
// The same; the generation to go back to is the request's.
absl::StatusOr<routing::PatchOptions> ParseRollback(const v1::RollbackRoutingRequest& request);

// A time to live, 1 ms..10 years; field "ttl".
absl::Duration ParseTtl(const google::protobuf::Duration& ttl, RequestErrors* errors);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_PATCH_REQUEST_H_
