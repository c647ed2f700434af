// The admin calls as functions: they may wait, so they run on a WorkerPool.
#ifndef OLMOE_SERVER_RPC_ROUTING_ADMIN_H_
#define OLMOE_SERVER_RPC_ROUTING_ADMIN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "olmoe/v1/admin.pb.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// Errors: INVALID_ARGUMENT with every violation (or IDEMPOTENCY_KEY_REUSED), ABORTED
// (GENERATION_MISMATCH), FAILED_PRECONDITION (calibration, probe), those of the engine for a
// probe, RESOURCE_EXHAUSTED and UNAVAILABLE (NOT_STORED). On every error nothing has changed.
// `deadline`: the call's; a probe is not waited for any longer.
absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request,
                                                      const ServiceContext& context,
                                                      std::string actor, absl::Time deadline);
absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request,
                                                        const ServiceContext& context,
                                                        std::string actor);
v1::GetRoutingResponse GetRouting(const ServiceContext& context);

v1::GetServerStatusResponse GetServerStatus(const ServiceContext& context);

// Refuses new requests and ends the watches of the routing, waits for the accepted
// requests, cancels those left after the grace. The server goes on answering admin
// calls; only its process's end undoes it.
absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request,
                                        const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ROUTING_ADMIN_H_
