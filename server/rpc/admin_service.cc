#include "server/rpc/admin_service.h"

#include "olmoe/v1/admin.grpc.pb.h"
#include "server/rpc/conversions.h"
#include "server/rpc/routing_admin.h"
#include "server/rpc/unary.h"
#include "server/rpc/worker_pool.h"

namespace olmoe::rpc {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

using Generated = v1::RoutingAdminService;
// Raw bytes: see wire.h.
using RawService = Generated::WithRawCallbackMethod_PatchRouters<
    Generated::WithRawCallbackMethod_UnpatchRouters<Generated::WithRawCallbackMethod_GetRouting<
        Generated::WithRawCallbackMethod_GetServerStatus<
            Generated::WithRawCallbackMethod_Drain<Generated::CallbackService>>>>>;

// Hands every call to routing_admin.h; those that wait go to the pool. Thread-safe.
class AdminServiceImpl final : public RawService {
 public:
  explicit AdminServiceImpl(const ServiceContext* context) : context_(context) {}

  ServerUnaryReactor* PatchRouters(CallbackServerContext* call, const ByteBuffer* request,
                                   ByteBuffer* response) override {
    return AnswerLater<v1::PatchRoutersRequest>(
        call, request, response,
        [deadline = ToDeadline(call->deadline())](const v1::PatchRoutersRequest& message,
                                                  const ServiceContext& context) {
          return rpc::PatchRouters(message, deadline, context);
        });
  }
  ServerUnaryReactor* UnpatchRouters(CallbackServerContext* call, const ByteBuffer* request,
                                     ByteBuffer* response) override {
    return AnswerLater<v1::UnpatchRoutersRequest>(call, request, response, &rpc::UnpatchRouters);
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

 private:
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
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(const ServiceContext* context) {
  return std::make_unique<AdminServiceImpl>(context);
}

}  // namespace olmoe::rpc
