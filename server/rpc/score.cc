#include <memory>
#include <utility>

#include "server/rpc/inference_calls.h"
#include "server/rpc/score_job.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One Score call. It ends once: in OnMessage for a refused request, otherwise when the job is done.
// gRPC threads and the engine's thread, never two at a time but for OnCancelled.
class ScoreCall final : public InferenceCall {
 public:
  ScoreCall(const InferenceContext* context, grpc::CallbackServerContext* server_context)
      : InferenceCall(context, server_context),
        job_(std::make_shared<ScoreJob>(
            context->serving, "Score", client(), NewHold(),
            [this](ScoreJob&, absl::StatusOr<v1::ScoreResponse> result) { AnswerWith(result); })) {}

 private:
  void OnMessage(bool) override {
    const auto alive = Shared(this);  // the engine's answer may be the end of this call
    const absl::Status status = Submit();
    if (status.ok()) return;
    OnRefused(status);
    End(status);
  }
  void OnCancelled() override { job_->Cancel(); }
  void OnRefused(const absl::Status& status) override { job_->ReportRefused(status); }

  absl::Status Submit() {
    v1::ScoreRequest request;
    absl::Status status = ParseMessage(message(), &request);
    if (status.ok()) status = job_->Prepare(request, interrupt());
    if (!status.ok()) return status;
    ClearMessage();
    status = Reserve(0);  // the job holds what it needs
    if (!status.ok()) return status;
    AddStampMetadata(job_->request(), server_context());
    StartSendInitialMetadata();
    return job_->Submit(deadline());
  }

  // The engine may hold it longer than gRPC holds this call.
  const std::shared_ptr<ScoreJob> job_;
};

}  // namespace

ByteReactor* StartScore(const InferenceContext* context,
                        grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<ScoreCall>(context, server_context);
}

}  // namespace olmoe::rpc
