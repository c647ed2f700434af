#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "olmoe/v1/inference.pb.h"
#include "server/api/conversions.h"
#include "server/api/request_fields.h"
#include "server/rpc/inference_calls.h"
#include "server/rpc/score_job.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One ScoreStream call: reads requests, has up to max_stream_requests of them between
// read and answered, writes answers as they come. Reading waits beyond that, so a
// client that does not read its answers is held back by gRPC's flow control. It ends when nothing
// is left. gRPC's threads and the engine's.
class ScoreStreamCall final : public StreamCall<InferenceContext> {
 public:
  ScoreStreamCall(const InferenceContext* context, grpc::CallbackServerContext* server_context)
      : StreamCall(context, server_context) {
    StartSendInitialMetadata();
  }

 private:
  // An answer that is not yet written, and its memory.
  struct Waiting {
    v1::ScoreStreamResponse answer;
    limits::RequestMemory::Hold hold;
  };

  void OnMessage(bool ok) override;
  void OnCancelled() override;
  void OnMessageRefused(const absl::Status& status) override;
  void OnTurnLost(const absl::Status& status) override;
  Step Next() override;
  void OnBroken() override { GiveUp(absl::CancelledError("cancelled")); }

  // Begins to read where there is room for another request.
  void ReadMore() ABSL_LOCKS_EXCLUDED(mu_);
  void EndRead() ABSL_LOCKS_EXCLUDED(mu_);
  // Submits the message, or queues its error, or `refusal` where that is one.
  void Accept(const absl::Status& refusal) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Submit(const v1::ScoreStreamRequest& request, const std::shared_ptr<ScoreJob>& job)
      ABSL_LOCKS_EXCLUDED(mu_);
  // A request was answered; `job` may be one that never ran.
  void Answered(const std::shared_ptr<ScoreJob>& job, const std::string& request_id,
                absl::StatusOr<v1::ScoreResponse> result) ABSL_LOCKS_EXCLUDED(mu_);
  void GiveUp(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  absl::Mutex mu_;
  std::set<std::shared_ptr<ScoreJob>> running_ ABSL_GUARDED_BY(mu_);
  std::deque<Waiting> answers_ ABSL_GUARDED_BY(mu_);
  // From Read to the end of Accept; the first read is BoundedCall's.
  bool reading_ ABSL_GUARDED_BY(mu_) = true;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;     // an answer, until the next call of Next
  bool reads_done_ ABSL_GUARDED_BY(mu_) = false;  // the client has no more requests
  absl::Status end_ ABSL_GUARDED_BY(mu_);         // not OK: nobody reads answers
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

void ScoreStreamCall::OnMessage(bool ok) {
  if (ok) {
    Accept(absl::OkStatus());
  } else {
    absl::MutexLock lock(&mu_);
    reads_done_ = true;
  }
  EndRead();
}

void ScoreStreamCall::OnMessageRefused(const absl::Status& status) {
  Accept(status);
  EndRead();
}

void ScoreStreamCall::OnTurnLost(const absl::Status& status) {
  GiveUp(status);
  EndRead();
}

void ScoreStreamCall::EndRead() {
  const auto alive = Shared(this);  // the end may come before this function's
  {
    absl::MutexLock lock(&mu_);
    reading_ = false;
  }
  Wake();
  ReadMore();
}

void ScoreStreamCall::OnCancelled() {
  GiveUp(absl::CancelledError("cancelled"));
  Wake();
}

void ScoreStreamCall::GiveUp(const absl::Status& status) {
  std::set<std::shared_ptr<ScoreJob>> running;
  std::deque<Waiting> dropped;  // goes after the lock
  {
    absl::MutexLock lock(&mu_);
    if (end_.ok()) end_ = status;
    answers_.swap(dropped);
    running = running_;
  }
  for (const std::shared_ptr<ScoreJob>& job : running) job->Cancel();
}

absl::Status ScoreStreamCall::Submit(const v1::ScoreStreamRequest& request,
                                     const std::shared_ptr<ScoreJob>& job) {
  if (absl::Status status = job->Prepare(request.request(), interrupt()); !status.ok()) {
    return status;
  }
  {
    absl::MutexLock lock(&mu_);
    if (!end_.ok()) return absl::CancelledError("cancelled by the client");
    running_.insert(job);
  }
  return job->Submit(deadline());
}

void ScoreStreamCall::Accept(const absl::Status& refusal) {
  // The job holds the call; the call holds the job while it runs.
  const auto job = std::make_shared<ScoreJob>(
      &serving(), "ScoreStream", client(), NewHold(),
      [call = Shared(this)](ScoreJob& finished, absl::StatusOr<v1::ScoreResponse> result) {
        call->Answered(finished.shared_from_this(), finished.request().request_id(),
                       std::move(result));
      });
  v1::ScoreStreamRequest request;
  absl::Status status = ParseMessage(message(), &request);
  if (status.ok()) status = refusal.ok() ? Submit(request, job) : refusal;
  if (status.ok()) return;
  job->ReportRefused(status);
  const std::string& request_id = request.request().request_id();
  Answered(job, api::IsRequestId(request_id) ? request_id : "", status);
}

void ScoreStreamCall::Answered(const std::shared_ptr<ScoreJob>& job, const std::string& request_id,
                               absl::StatusOr<v1::ScoreResponse> result) {
  Waiting waiting = {.answer = {}, .hold = job->TakeHold()};
  waiting.answer.set_request_id(request_id);
  if (result.ok()) {
    *waiting.answer.mutable_response() = *std::move(result);
  } else {
    *waiting.answer.mutable_error() = api::ToRpcStatus(result.status());
  }
  {
    absl::MutexLock lock(&mu_);
    running_.erase(job);
    if (end_.ok()) answers_.push_back(std::move(waiting));
  }
  Wake();
}

ScoreStreamCall::Step ScoreStreamCall::Next() {
  std::optional<Waiting> next;
  {
    absl::MutexLock lock(&mu_);
    writing_ = !answers_.empty();
    if (writing_) {
      next = std::move(answers_.front());
      answers_.pop_front();
    } else if (running_.empty() && !reading_ && (reads_done_ || !end_.ok())) {
      finished_ = true;
      return TheEnd(end_);
    }
  }
  ReadMore();
  return next ? Message(next->answer) : Nothing();
}

void ScoreStreamCall::ReadMore() {
  {
    absl::MutexLock lock(&mu_);
    const size_t open = running_.size() + answers_.size() + (writing_ ? 1 : 0);
    if (reading_ || reads_done_ || !end_.ok() || finished_ ||
        open >= static_cast<size_t>(context().max_stream_requests)) {
      return;
    }
    reading_ = true;
  }
  Read();
}

}  // namespace

ByteReactor* StartScoreStream(const InferenceContext* context,
                              grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<ScoreStreamCall>(context, server_context);
}

}  // namespace olmoe::rpc
