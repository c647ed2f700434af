#include "server/rpc/admin_calls.h"

#include <memory>
#include <string>
#include <utility>

#include "olmoe/v1/admin.grpc.pb.h"
#include "server/limits/worker_pool.h"
#include "server/rpc/byte_service.h"
#include "server/rpc/caller.h"
#include "server/rpc/unary.h"

namespace olmoe::rpc {
namespace {

using grpc::CallbackServerContext;

// `function` with the caller as its last argument.
template <class Function>
auto WithActor(std::string actor, Function function) {
  return [function, actor = std::move(actor)](const auto& message, const AdminContext& context) {
    return function(message, context, actor);
  };
}

// What the calls of the port run on. Owned by what starts them. Thread-safe.
struct Workers {
  // Two: a patch that waits for a drain does not hold up its rollback.
  limits::WorkerPool pool{2};
  // A calibration or a router does not wait for a drain either.
  limits::WorkerPool calibration_pool{1};
  CalibrationBuilds builds{&calibration_pool};
};

// Makes the starts of calls that a function answers, a
// StatusOr<Response>(const Request&, const AdminContext&). Thread-compatible.
class Starts {
 public:
  Starts(const AdminContext* context, std::shared_ptr<Workers> workers)
      : context_(context), workers_(std::move(workers)) {}

  // On gRPC's thread.
  template <class Request, class Function>
  auto Now(Function function) const {
    return [context = context_, function](CallbackServerContext* call) {
      return BoundedCall::Start<UnaryCall>(
          &context->call, call, nullptr,
          ForBytes<Request>(
              [context, function](const Request& message) { return function(message, *context); }));
    };
  }
  // On the pool; `bind` makes the function of a call from what its context says.
  template <class Request, class Bind>
  auto LaterFor(Bind bind) const {
    return [context = context_, workers = workers_, bind](CallbackServerContext* call) {
      return BoundedCall::Start<UnaryCall>(
          &context->call, call, &workers->pool,
          ForBytes<Request>([context, function = bind(*call)](const Request& message) {
            return function(message, *context);
          }));
    };
  }
  template <class Request, class Function>
  auto Later(Function function) const {
    return LaterFor<Request>([function](const CallbackServerContext&) { return function; });
  }
  // With who calls as the last argument.
  template <class Request, class Function>
  auto LaterByActor(Function function) const {
    return LaterFor<Request>([context = context_, function](const CallbackServerContext& call) {
      return WithActor(ActorOf(call, context->call.gate), function);
    });
  }

 private:
  const AdminContext* const context_;
  const std::shared_ptr<Workers> workers_;
};

// A call that cannot fail, as one that could.
template <class Response>
auto AlwaysOk(Response (*function)(const AdminContext&)) {
  return [function](const auto&, const AdminContext& context) {
    return absl::StatusOr<Response>(function(context));
  };
}

MethodStarts RoutingMethods(const AdminContext* context, const Starts& starts) {
  return {
      {"PatchRouters",
       starts.LaterFor<v1::PatchRoutersRequest>([context](const CallbackServerContext& call) {
         return [actor = ActorOf(call, context->call.gate), deadline = ToDeadline(call.deadline())](
                    const v1::PatchRoutersRequest& message, const AdminContext& serving) {
           return PatchRouters(message, serving, actor, deadline);
         };
       })},
      {"UnpatchRouters", starts.LaterByActor<v1::UnpatchRoutersRequest>(&UnpatchRouters)},
      {"RollbackRouting", starts.LaterByActor<v1::RollbackRoutingRequest>(&RollbackRouting)},
      {"RenewRouting", starts.Later<v1::RenewRoutingRequest>(&RenewRouting)},
      {"ListRoutingHistory", starts.Later<v1::ListRoutingHistoryRequest>(&ListRoutingHistory)},
      {"ExplainAssignment", starts.Now<v1::ExplainAssignmentRequest>(&ExplainAssignment)},
      {"GetRouting", starts.Now<v1::GetRoutingRequest>(AlwaysOk(&GetRouting))},
      {"WatchRouting",
       [context](CallbackServerContext* call) { return StartWatchRouting(context, call); }},
      {"GetServerStatus", starts.Now<v1::GetServerStatusRequest>(AlwaysOk(&GetServerStatus))},
      {"Drain", starts.Later<v1::DrainRequest>(&Drain)},
  };
}

MethodStarts CalibrationMethods(const AdminContext* context,
                                const std::shared_ptr<Workers>& workers, const Starts& starts) {
  return {
      {"PutCalibration",
       [context, workers](CallbackServerContext* call) {
         return StartPutCalibration(context, &workers->calibration_pool, call);
       }},
      {"BuildCalibration",
       [context, workers](CallbackServerContext* call) {
         return StartBuildCalibration(context, &workers->builds, call);
       }},
      {"GetCalibration",
       [context](CallbackServerContext* call) { return StartGetCalibration(context, call); }},
      {"ListCalibrations", starts.Now<v1::ListCalibrationsRequest>(AlwaysOk(&ListCalibrations))},
      {"DeleteCalibration", starts.Later<v1::DeleteCalibrationRequest>(&DeleteCalibration)},
  };
}

MethodStarts RouterMethods(const AdminContext* context, const std::shared_ptr<Workers>& workers,
                           const Starts& starts) {
  return {
      {"PutRouter",
       [context, workers](CallbackServerContext* call) {
         return StartPutRouter(context, &workers->calibration_pool, call);
       }},
      {"GetRouter",
       [context](CallbackServerContext* call) { return StartGetRouter(context, call); }},
      {"ListRouters", starts.Now<v1::ListRoutersRequest>(AlwaysOk(&ListRouters))},
      {"DeleteRouter", starts.Later<v1::DeleteRouterRequest>(&DeleteRouter)},
  };
}

MethodStarts StatsMethods(const AdminContext* context, const Starts& starts) {
  return {
      {"GetExpertStats", starts.Now<v1::GetExpertStatsRequest>(&GetExpertStats)},
      {"WatchExpertStats",
       [context](CallbackServerContext* call) { return StartWatchExpertStats(context, call); }},
  };
}

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(const AdminContext* context) {
  const auto workers = std::make_shared<Workers>();
  const Starts starts(context, workers);
  MethodStarts methods = RoutingMethods(context, starts);
  methods.merge(CalibrationMethods(context, workers, starts));
  methods.merge(RouterMethods(context, workers, starts));
  methods.merge(StatsMethods(context, starts));
  return std::make_unique<ByteService<v1::RoutingAdminService>>(
      *v1::PatchRoutersRequest::descriptor()->file()->FindServiceByName("RoutingAdminService"),
      methods);
}

}  // namespace olmoe::rpc
