#include "server/rpc/score.h"

#include <grpcpp/server_context.h>

#include <memory>
#include <utility>

#include "server/rpc/conversions.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_requests.h"
#include "server/rpc/score_job.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One Score call. It owns itself until gRPC is done with it. Finish is called once: by
// Begin for a refused request, otherwise when the job is done. gRPC threads and the
// engine's thread, never two at a time but for OnCancel.
class ScoreCall final : public grpc::ServerUnaryReactor {
 public:
  static ScoreCall* Start(const ServiceContext* context,
                          grpc::CallbackServerContext* server_context,
                          const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response) {
    auto* call = new ScoreCall(context, server_context, response);
    PrepareRequest(*context, bytes, [call, &bytes] { call->Begin(bytes); });
    return call;
  }

  void OnCancel() override { job_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  ScoreCall(const ServiceContext* context, grpc::CallbackServerContext* server_context,
            grpc::ByteBuffer* response)
      : server_context_(server_context),
        response_(response),
        job_(std::make_shared<ScoreJob>(
            context, "Score",
            [this](ScoreJob&, absl::StatusOr<v1::ScoreResponse> result) {
              Answer(std::move(result));
            })) {}

  void Begin(const grpc::ByteBuffer& bytes) {
    const auto job = job_;  // the engine's answer may be the end of this call
    absl::Status status = Submit(bytes);
    if (status.ok()) return;
    job->ReportRefused(status);
    Finish(ToGrpcStatus(status));
  }

  absl::Status Submit(const grpc::ByteBuffer& bytes) {
    v1::ScoreRequest message;
    absl::Status status = ParseMessage(bytes, &message);
    if (status.ok()) status = job_->Prepare(message);
    if (!status.ok()) return status;
    job_->request().AddMetadata(server_context_);
    StartSendInitialMetadata();
    return job_->Submit(ToDeadline(server_context_->deadline()));
  }

  void Answer(absl::StatusOr<v1::ScoreResponse> result) {
    if (result.ok()) *response_ = SerializeMessage(*result);
    Finish(ToGrpcStatus(result.status()));
  }

  grpc::CallbackServerContext* const server_context_;
  grpc::ByteBuffer* const response_;
  // The engine may hold it longer than gRPC holds this call.
  const std::shared_ptr<ScoreJob> job_;
};

}  // namespace

grpc::ServerUnaryReactor* StartScore(const ServiceContext* context,
                                     grpc::CallbackServerContext* server_context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) {
  return ScoreCall::Start(context, server_context, *request, response);
}

}  // namespace olmoe::rpc
