#include "server/rpc/score_stream.h"

#include <grpcpp/server_context.h>

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "olmoe/v1/inference.pb.h"
#include "server/rpc/conversions.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_requests.h"
#include "server/rpc/request_fields.h"
#include "server/rpc/score_job.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One ScoreStream call: reads requests, has up to max_stream_requests of them between
// read and answered, writes answers as they come. Reading waits beyond that, so a
// client that does not read its answers is held back by gRPC's flow control.
//
// It owns itself until gRPC is done with it. One read and one write at a time, and
// Finish once, when nothing is left: all started only in Pump, which is called after
// each change by gRPC's threads and by the engine's.
class ScoreStreamCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                              public std::enable_shared_from_this<ScoreStreamCall> {
 public:
  static ScoreStreamCall* Start(const ServiceContext* context,
                                grpc::CallbackServerContext* server_context) {
    auto call = std::make_shared<ScoreStreamCall>(context, server_context);
    call->self_ = call;
    call->StartSendInitialMetadata();
    call->Pump();
    return call.get();
  }

  ScoreStreamCall(const ServiceContext* context, grpc::CallbackServerContext* server_context)
      : context_(context), server_context_(server_context) {}

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { const auto last = std::move(self_); }

 private:
  // Starts whatever may start now.
  void Pump() ABSL_LOCKS_EXCLUDED(mu_);
  void EndRead() ABSL_LOCKS_EXCLUDED(mu_);
  // Submits the request in read_buffer_, or queues its error.
  void Accept() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Submit(const v1::ScoreStreamRequest& message,
                      const std::shared_ptr<ScoreJob>& job) ABSL_LOCKS_EXCLUDED(mu_);
  // A request was answered; `job` may be one that never ran.
  void Answer(const std::shared_ptr<ScoreJob>& job, const std::string& request_id,
              absl::StatusOr<v1::ScoreResponse> result) ABSL_LOCKS_EXCLUDED(mu_);
  void GiveUp() ABSL_LOCKS_EXCLUDED(mu_);

  const ServiceContext* const context_;
  grpc::CallbackServerContext* const server_context_;
  std::shared_ptr<ScoreStreamCall> self_;
  grpc::ByteBuffer read_buffer_;   // of the read under way
  grpc::ByteBuffer write_buffer_;  // of the write under way

  absl::Mutex mu_;
  std::set<std::shared_ptr<ScoreJob>> running_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::ScoreStreamResponse> answers_ ABSL_GUARDED_BY(mu_);  // not yet written
  bool reading_ ABSL_GUARDED_BY(mu_) = false;     // from StartRead to the end of Accept
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool reads_done_ ABSL_GUARDED_BY(mu_) = false;  // the client has no more requests
  bool broken_ ABSL_GUARDED_BY(mu_) = false;      // cancelled: nobody reads answers
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

void ScoreStreamCall::OnReadDone(bool ok) {
  if (!ok) {
    absl::MutexLock lock(&mu_);
    reads_done_ = true;
  }
  if (!ok) return EndRead();
  PrepareRequest(*context_, read_buffer_, [call = shared_from_this()] {
    call->Accept();
    call->EndRead();
  });
}

void ScoreStreamCall::EndRead() {
  {
    absl::MutexLock lock(&mu_);
    reading_ = false;
  }
  Pump();
}

void ScoreStreamCall::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mu_);
    writing_ = false;
  }
  if (!ok) GiveUp();
  Pump();
}

void ScoreStreamCall::OnCancel() {
  GiveUp();
  Pump();
}

void ScoreStreamCall::GiveUp() {
  std::set<std::shared_ptr<ScoreJob>> running;
  {
    absl::MutexLock lock(&mu_);
    broken_ = true;
    answers_.clear();
    running = running_;
  }
  for (const std::shared_ptr<ScoreJob>& job : running) job->Cancel();
}

absl::Status ScoreStreamCall::Submit(const v1::ScoreStreamRequest& message,
                                     const std::shared_ptr<ScoreJob>& job) {
  if (absl::Status status = job->Prepare(message.request()); !status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    if (broken_) return absl::CancelledError("cancelled by the client");
    running_.insert(job);
  }
  return job->Submit(ToDeadline(server_context_->deadline()));
}

void ScoreStreamCall::Accept() {
  // The job holds the call; the call holds the job while it runs.
  const auto job = std::make_shared<ScoreJob>(
      context_, "ScoreStream",
      [call = shared_from_this()](ScoreJob& finished, absl::StatusOr<v1::ScoreResponse> result) {
        call->Answer(finished.shared_from_this(), finished.request().request_id(),
                     std::move(result));
      });
  v1::ScoreStreamRequest message;
  absl::Status status = ParseMessage(read_buffer_, &message);
  if (status.ok()) status = Submit(message, job);
  if (status.ok()) return;
  job->ReportRefused(status);
  const std::string& request_id = message.request().request_id();
  Answer(job, IsRequestId(request_id) ? request_id : "", status);
}

void ScoreStreamCall::Answer(const std::shared_ptr<ScoreJob>& job, const std::string& request_id,
                             absl::StatusOr<v1::ScoreResponse> result) {
  v1::ScoreStreamResponse answer;
  answer.set_request_id(request_id);
  if (result.ok()) {
    *answer.mutable_response() = *std::move(result);
  } else {
    *answer.mutable_error() = ToRpcStatus(result.status());
  }
  {
    absl::MutexLock lock(&mu_);
    running_.erase(job);
    if (!broken_) answers_.push_back(std::move(answer));
  }
  Pump();
}

void ScoreStreamCall::Pump() {
  const auto alive = shared_from_this();  // gRPC may be done before this function is
  bool read = false, write = false, finish = false, broken = false;
  v1::ScoreStreamResponse answer;
  {
    absl::MutexLock lock(&mu_);
    const size_t open = running_.size() + answers_.size() + (writing_ ? 1 : 0);
    read = !reading_ && !reads_done_ && !broken_ && !finished_ &&
           open < static_cast<size_t>(context_->max_stream_requests);
    write = !writing_ && !answers_.empty();
    if (write) {
      answer = std::move(answers_.front());
      answers_.pop_front();
    }
    reading_ = reading_ || read;
    writing_ = writing_ || write;
    finish = !finished_ && open == 0 && !reading_ && (reads_done_ || broken_);
    finished_ = finished_ || finish;
    broken = broken_;
  }
  if (read) StartRead(&read_buffer_);
  if (write) {
    write_buffer_ = SerializeMessage(answer);
    StartWrite(&write_buffer_);
  }
  if (finish) {
    Finish(broken ? grpc::Status(grpc::StatusCode::CANCELLED, "cancelled") : grpc::Status::OK);
  }
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartScoreStream(
    const ServiceContext* context, grpc::CallbackServerContext* server_context) {
  return ScoreStreamCall::Start(context, server_context);
}

}  // namespace olmoe::rpc
