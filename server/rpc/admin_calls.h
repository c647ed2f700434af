// The calls of RoutingAdminService. What is declared as a function of its request may wait, for a
// disk, a drain or a probe, unless it says otherwise.
#ifndef OLMOE_SERVER_RPC_ADMIN_CALLS_H_
#define OLMOE_SERVER_RPC_ADMIN_CALLS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "olmoe/v1/admin.pb.h"
#include "server/experiment/serving.h"
#include "server/limits/worker_pool.h"
#include "server/routing/plan.h"
#include "server/rpc/bounded_call.h"
#include "server/rpc/call_context.h"

namespace olmoe::stats {
class StatsCursors;
}

namespace grpc {
class Service;
}

namespace olmoe::rpc {

class OpenWatches;

// What they share. Pointers are not owned and outlive the service. Constant once serving; what it
// points to is thread-safe. Callbacks come on any thread, must be thread-safe and must not block;
// they may be empty.
struct AdminContext {
  CallContext call;  // its gate also names who patches, see ActorOf
  const experiment::Serving* serving = nullptr;  // with calibrations and routers
  stats::StatsCursors* expert_stats = nullptr;
  OpenWatches* watches = nullptr;
  absl::Time start_time;
  // Series that /metrics exports about the routers of a plan's arms.
  std::function<int64_t(const routing::RoutingPlan&)> count_series;
  // A call that changes the plan has ended, its outcome "published", "unchanged", "conflict" or
  // "rejected"; admission was blocked for `swap_duration`.
  std::function<void(std::string_view outcome, absl::Duration swap_duration)> on_swap;
  // An operator drains the server by RPC.
  std::function<void()> on_drain;
};

using AdminCall = ServiceCall<AdminContext>;

// Errors: INVALID_ARGUMENT with every violation (or IDEMPOTENCY_KEY_REUSED), ABORTED
// (GENERATION_MISMATCH), FAILED_PRECONDITION (calibration, probe), those of the engine for a
// probe, RESOURCE_EXHAUSTED and UNAVAILABLE (NOT_STORED). On every error nothing has changed.
// `deadline`: the call's; a probe is not waited for any longer.
absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request,
                                                      const AdminContext& context,
                                                      std::string actor, absl::Time deadline);
absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request,
                                                        const AdminContext& context,
                                                        std::string actor);
// Errors: ABORTED (GENERATION_MISMATCH), NOT_FOUND (UNKNOWN_GENERATION),
// FAILED_PRECONDITION (calibration, router), those of the disk.
absl::StatusOr<v1::PatchRoutersResponse> RollbackRouting(const v1::RollbackRoutingRequest& request,
                                                         const AdminContext& context,
                                                         std::string actor);
absl::StatusOr<v1::RenewRoutingResponse> RenewRouting(const v1::RenewRoutingRequest& request,
                                                      const AdminContext& context);

// Does not wait.
v1::GetRoutingResponse GetRouting(const AdminContext& context);
absl::StatusOr<v1::ListRoutingHistoryResponse> ListRoutingHistory(
    const v1::ListRoutingHistoryRequest& request, const AdminContext& context);
// Errors: INVALID_ARGUMENT with every violation of the unit ids and of the plan,
// FAILED_PRECONDITION (calibration). Does not wait.
absl::StatusOr<v1::ExplainAssignmentResponse> ExplainAssignment(
    const v1::ExplainAssignmentRequest& request, const AdminContext& context);
ByteReactor* StartWatchRouting(const AdminContext* context,
                               grpc::CallbackServerContext* server_context);

// Does not wait.
v1::GetServerStatusResponse GetServerStatus(const AdminContext& context);
// Refuses new requests and ends the watches of the routing, waits for the accepted
// requests, cancels those left after the grace. The server goes on answering admin
// calls; only its process's end undoes it.
absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request,
                                        const AdminContext& context);

// Does not wait.
v1::ListCalibrationsResponse ListCalibrations(const AdminContext& context);
// Errors: INVALID_ARGUMENT for what is no name, NOT_FOUND; FAILED_PRECONDITION
// (CALIBRATION_IN_USE); those of the disk.
absl::StatusOr<v1::DeleteCalibrationResponse> DeleteCalibration(
    const v1::DeleteCalibrationRequest& request, const AdminContext& context);
// A message a layer.
ByteReactor* StartGetCalibration(const AdminContext* context,
                                 grpc::CallbackServerContext* server_context);
// The set's disk is waited for on `pool`.
ByteReactor* StartPutCalibration(const AdminContext* context, limits::WorkerPool* pool,
                                 grpc::CallbackServerContext* server_context);
// What the BuildCalibration calls of a service share. Thread-safe.
struct CalibrationBuilds {
  explicit CalibrationBuilds(limits::WorkerPool* pool) : pool(pool) {}
  limits::WorkerPool* const pool;  // where texts are tokenized and the disk is waited for
  std::atomic<int> running = 0;
};
ByteReactor* StartBuildCalibration(const AdminContext* context, CalibrationBuilds* builds,
                                   grpc::CallbackServerContext* server_context);

// Does not wait.
v1::ListRoutersResponse ListRouters(const AdminContext& context);
// Errors: INVALID_ARGUMENT for what is no name, NOT_FOUND; FAILED_PRECONDITION (ROUTER_IN_USE);
// those of the disk.
absl::StatusOr<v1::DeleteRouterResponse> DeleteRouter(const v1::DeleteRouterRequest& request,
                                                      const AdminContext& context);
// A message a layer.
ByteReactor* StartGetRouter(const AdminContext* context,
                            grpc::CallbackServerContext* server_context);
// Made ready on `pool`, where the set's disk is waited for too.
ByteReactor* StartPutRouter(const AdminContext* context, limits::WorkerPool* pool,
                            grpc::CallbackServerContext* server_context);

// Errors: INVALID_ARGUMENT with every violation, FAILED_PRECONDITION (CURSOR_EXPIRED). Does not
// wait.
absl::StatusOr<v1::GetExpertStatsResponse> GetExpertStats(const v1::GetExpertStatsRequest& request,
                                                          const AdminContext& context);
ByteReactor* StartWatchExpertStats(const AdminContext* context,
                                   grpc::CallbackServerContext* server_context);

inline constexpr char kAdminServiceName[] = "olmoe.v1.RoutingAdminService";

// The operators' service; `context` outlives it. Thread-safe.
std::unique_ptr<grpc::Service> MakeAdminService(const AdminContext* context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ADMIN_CALLS_H_
