// The admin calls about plans that were or could be, as functions; those that read or
// write the history may wait for a disk.
#ifndef OLMOE_SERVER_RPC_ROUTING_HISTORY_H_
#define OLMOE_SERVER_RPC_ROUTING_HISTORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// Errors: ABORTED (GENERATION_MISMATCH), NOT_FOUND (UNKNOWN_GENERATION),
// FAILED_PRECONDITION (calibration), those of the disk.
absl::StatusOr<v1::PatchRoutersResponse> RollbackRouting(
    const v1::RollbackRoutingRequest& request, const ServiceContext& context, std::string actor);

absl::StatusOr<v1::RenewRoutingResponse> RenewRouting(const v1::RenewRoutingRequest& request,
                                                      const ServiceContext& context);

absl::StatusOr<v1::ListRoutingHistoryResponse> ListRoutingHistory(
    const v1::ListRoutingHistoryRequest& request, const ServiceContext& context);

// Errors: INVALID_ARGUMENT with every violation of the unit ids and of the plan,
// FAILED_PRECONDITION (calibration).
absl::StatusOr<v1::ExplainAssignmentResponse> ExplainAssignment(
    const v1::ExplainAssignmentRequest& request, const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ROUTING_HISTORY_H_
