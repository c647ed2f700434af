#include "server/rpc/admin_service.h"

#include <string>
#include <utility>

#include "olmoe/v1/admin.grpc.pb.h"
#include "server/rpc/actor.h"
#include "server/rpc/build_calibration.h"
#include "server/rpc/calibration_admin.h"
#include "server/rpc/expert_stats_admin.h"
#include "server/rpc/get_calibration.h"
#include "server/rpc/put_calibration.h"
#include "server/rpc/conversions.h"
#include "server/rpc/routing_admin.h"
#include "server/rpc/routing_history.h"
#include "server/rpc/unary.h"
#include "server/rpc/watch_expert_stats.h"
#include "server/rpc/watch_routing.h"
#include "server/rpc/worker_pool.h"

namespace olmoe::rpc {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerReadReactor;
using grpc::ServerUnaryReactor;
using grpc::ServerWriteReactor;

using Generated = v1::RoutingAdminService;
// Raw bytes: see wire.h.
// Each named for what it adds to those before.
using RawHistory = Generated::WithRawCallbackMethod_RollbackRouting<
    Generated::WithRawCallbackMethod_RenewRouting<
        Generated::WithRawCallbackMethod_ListRoutingHistory<
            Generated::WithRawCallbackMethod_WatchRouting<
                Generated::WithRawCallbackMethod_ExplainAssignment<Generated::CallbackService>>>>>;
using RawCalibrations = Generated::WithRawCallbackMethod_PutCalibration<
    Generated::WithRawCallbackMethod_BuildCalibration<
        Generated::WithRawCallbackMethod_GetCalibration<
            Generated::WithRawCallbackMethod_ListCalibrations<
                Generated::WithRawCallbackMethod_DeleteCalibration<RawHistory>>>>>;
using RawStats = Generated::WithRawCallbackMethod_GetExpertStats<
    Generated::WithRawCallbackMethod_WatchExpertStats<RawCalibrations>>;
using RawService = Generated::WithRawCallbackMethod_PatchRouters<
    Generated::WithRawCallbackMethod_UnpatchRouters<Generated::WithRawCallbackMethod_GetRouting<
        Generated::WithRawCallbackMethod_GetServerStatus<
            Generated::WithRawCallbackMethod_Drain<RawStats>>>>>;

// `function` with the caller as its last argument.
template <class Function>
auto WithActor(std::string actor, Function function) {
  return [function, actor = std::move(actor)](const auto& message, const ServiceContext& context) {
    return function(message, context, actor);
  };
}

// Hands every call to routing_admin.h or routing_history.h; those that wait go to the
// pool. Thread-safe.
class AdminServiceImpl final : public RawService {
 public:
  explicit AdminServiceImpl(const ServiceContext* context) : context_(context) {}

  ServerUnaryReactor* PatchRouters(CallbackServerContext* call, const ByteBuffer* request,
                                   ByteBuffer* response) override {
    return AnswerLater<v1::PatchRoutersRequest>(
        call, request, response,
        [actor = Actor(*call), deadline = ToDeadline(call->deadline())](
            const v1::PatchRoutersRequest& message, const ServiceContext& context) {
          return rpc::PatchRouters(message, context, actor, deadline);
        });
  }
  ServerUnaryReactor* UnpatchRouters(CallbackServerContext* call, const ByteBuffer* request,
                                     ByteBuffer* response) override {
    return AnswerLater<v1::UnpatchRoutersRequest>(call, request, response,
                                                  WithActor(Actor(*call), &rpc::UnpatchRouters));
  }
  ServerUnaryReactor* RollbackRouting(CallbackServerContext* call, const ByteBuffer* request,
                                      ByteBuffer* response) override {
    return AnswerLater<v1::RollbackRoutingRequest>(call, request, response,
                                                   WithActor(Actor(*call), &rpc::RollbackRouting));
  }
  ServerUnaryReactor* RenewRouting(CallbackServerContext* call, const ByteBuffer* request,
                                   ByteBuffer* response) override {
    return AnswerLater<v1::RenewRoutingRequest>(call, request, response, &rpc::RenewRouting);
  }
  ServerUnaryReactor* ListRoutingHistory(CallbackServerContext* call, const ByteBuffer* request,
                                         ByteBuffer* response) override {
    return AnswerLater<v1::ListRoutingHistoryRequest>(call, request, response,
                                                      &rpc::ListRoutingHistory);
  }
  grpc::ServerWriteReactor<ByteBuffer>* WatchRouting(CallbackServerContext* call,
                                                     const ByteBuffer* request) override {
    return StartWatchRouting(context_, request);
  }
  ServerUnaryReactor* ExplainAssignment(CallbackServerContext* call, const ByteBuffer* request,
                                        ByteBuffer* response) override {
    return AnswerNow<v1::ExplainAssignmentRequest>(
        *context_, call, request, response, [this](const v1::ExplainAssignmentRequest& message) {
          return rpc::ExplainAssignment(message, *context_);
        });
  }
  ServerUnaryReactor* Drain(CallbackServerContext* call, const ByteBuffer* request,
                            ByteBuffer* response) override {
    return AnswerLater<v1::DrainRequest>(call, request, response, &rpc::Drain);
  }
  ServerUnaryReactor* GetRouting(CallbackServerContext* call, const ByteBuffer* request,
                                 ByteBuffer* response) override {
    return AnswerNow<v1::GetRoutingRequest>(
        *context_, call, request, response, [this](const v1::GetRoutingRequest&) {
          return absl::StatusOr<v1::GetRoutingResponse>(rpc::GetRouting(*context_));
        });
  }
  ServerUnaryReactor* GetServerStatus(CallbackServerContext* call, const ByteBuffer* request,
                                      ByteBuffer* response) override {
    return AnswerNow<v1::GetServerStatusRequest>(
        *context_, call, request, response, [this](const v1::GetServerStatusRequest&) {
          return absl::StatusOr<v1::GetServerStatusResponse>(rpc::GetServerStatus(*context_));
        });
  }
  ServerUnaryReactor* GetExpertStats(CallbackServerContext* call, const ByteBuffer* request,
                                     ByteBuffer* response) override {
    return AnswerNow<v1::GetExpertStatsRequest>(
        *context_, call, request, response, [this](const v1::GetExpertStatsRequest& message) {
          return rpc::GetExpertStats(message, *context_);
        });
  }
  ServerWriteReactor<ByteBuffer>* WatchExpertStats(CallbackServerContext*,
                                                   const ByteBuffer* request) override {
    return StartWatchExpertStats(context_, request);
  }
  ServerReadReactor<ByteBuffer>* PutCalibration(CallbackServerContext*,
                                                ByteBuffer* response) override {
    return StartPutCalibration(context_, &calibration_pool_, response);
  }
  ServerUnaryReactor* BuildCalibration(CallbackServerContext* call, const ByteBuffer* request,
                                       ByteBuffer* response) override {
    return StartBuildCalibration(context_, &builds_, call, request, response);
  }
  ServerWriteReactor<ByteBuffer>* GetCalibration(CallbackServerContext*,
                                                 const ByteBuffer* request) override {
    return StartGetCalibration(context_, request);
  }
  ServerUnaryReactor* ListCalibrations(CallbackServerContext* call, const ByteBuffer* request,
                                       ByteBuffer* response) override {
    return AnswerNow<v1::ListCalibrationsRequest>(
        *context_, call, request, response, [this](const v1::ListCalibrationsRequest&) {
          return absl::StatusOr<v1::ListCalibrationsResponse>(rpc::ListCalibrations(*context_));
        });
  }
  ServerUnaryReactor* DeleteCalibration(CallbackServerContext* call, const ByteBuffer* request,
                                        ByteBuffer* response) override {
    return AnswerLater<v1::DeleteCalibrationRequest>(call, request, response,
                                                     &rpc::DeleteCalibration);
  }

 private:
  std::string Actor(const CallbackServerContext& call) const {
    return ActorOf(call, context_->admin_gate);
  }

  // The request and the response live until the reactor is finished.
  template <class Request, class Function>
  ServerUnaryReactor* AnswerLater(CallbackServerContext* call, const ByteBuffer* request,
                                  ByteBuffer* response, Function function) {
    ServerUnaryReactor* reactor = call->DefaultReactor();
    pool_.Run([this, reactor, request, response, function] {
      reactor->Finish(ToGrpcStatus(AnswerBytes<Request>(
          *request, response,
          [&](const Request& message) { return function(message, *context_); })));
    });
    return reactor;
  }

  const ServiceContext* const context_;
  // Two: a patch that waits for a drain does not hold up its rollback.
  WorkerPool pool_{2};
  // A calibration does not wait for a drain either.
  WorkerPool calibration_pool_{1};
  CalibrationBuilds builds_{&calibration_pool_};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(const ServiceContext* context) {
  return std::make_unique<AdminServiceImpl>(context);
}

}  // namespace olmoe::rpc
