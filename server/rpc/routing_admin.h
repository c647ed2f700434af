// The admin calls as functions: they may wait, so they run on a WorkerPool.
#ifndef OLMOE_SERVER_RPC_ROUTING_ADMIN_H_
#define OLMOE_SERVER_RPC_ROUTING_ADMIN_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "olmoe/v1/admin.pb.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// Errors: INVALID_ARGUMENT with every violation, ABORTED (GENERATION_MISMATCH),
// FAILED_PRECONDITION (calibration, probe), those of the engine for a probe, UNIMPLEMENTED
// for options that this server does not have. On every error nothing has changed.
// `deadline`: the call's; a probe is not waited for any longer.
absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request,
                                                      absl::Time deadline,
                                                      const ServiceContext& context);
absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request,
                                                        const ServiceContext& context);
v1::GetRoutingResponse GetRouting(const ServiceContext& context);

v1::GetServerStatusResponse GetServerStatus(const ServiceContext& context);

// Refuses new requests, waits for the accepted ones, cancels those left after the
// grace. The server goes on answering admin calls; only its process's end undoes it.
absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request,
                                        const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ROUTING_ADMIN_H_
