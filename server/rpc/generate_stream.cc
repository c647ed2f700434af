#include "server/rpc/generate_stream.h"

#include <grpcpp/server_context.h>

#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"
#include "olmoe/v1/inference.pb.h"
#include "server/rpc/conversions.h"
#include "server/rpc/engine_request.h"
#include "server/rpc/generate.h"
#include "server/rpc/generate_request.h"
#include "server/rpc/request_cost.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// What a delta takes while it waits, about.
size_t PendingBytes(const engine::GenerateDelta& delta) {
  size_t bytes = delta.text.size() + delta.trace.counts.size() + delta.trace.experts.size() +
                 sizeof(float) * (delta.trace.weights.size() + delta.trace.logits.size());
  for (const engine::GeneratedToken& token : delta.tokens) {
    bytes += sizeof(token) + sizeof(model::TokenLogprob) * token.top.size();
  }
  return bytes;
}

void Merge(engine::GenerateDelta from, engine::GenerateDelta* into) {
  into->text += from.text;
  into->tokens.insert(into->tokens.end(), std::make_move_iterator(from.tokens.begin()),
                      std::make_move_iterator(from.tokens.end()));
  into->trace.Append(std::move(from.trace));
}

// One GenerateStream call. It shares itself with the engine while that delivers. Deltas that come
// while a write is under way are merged into one message; beyond max_pending_bytes the request is
// paused until that message is on its way. One write at a time and End once: both only in Pump,
// which the engine's thread and gRPC's threads call after each change.
class GenerateStreamCall final : public BoundedCall, public engine::TokenSink {
 public:
  GenerateStreamCall(const ServiceContext* context, grpc::CallbackServerContext* server_context)
      : BoundedCall(context, server_context), request_(context, "GenerateStream", client()) {}

  // engine::TokenSink, engine thread.
  engine::Flow OnTokens(engine::GenerateDelta delta) override;
  engine::Flow OnScores(engine::WindowScores) override {
    LOG(FATAL) << "a generation has no scores";
    return engine::Flow::kContinue;
  }
  void OnDone(const engine::Completion& completion) override;

 private:
  void OnMessage(bool ok) override;
  void OnWritten(bool ok) override;
  void OnCancelled() override { request_.Cancel(); }
  void OnRefused(const absl::Status& status) override { request_.Report(status, nullptr); }
  absl::Status Submit();
  void AllowWrites() ABSL_LOCKS_EXCLUDED(mu_);
  void Pump() ABSL_LOCKS_EXCLUDED(mu_);
  // The next message; nullopt where there is none now.
  std::optional<v1::GenerateStreamResponse> NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::GenerateStreamResponse TakeDelta() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  EngineRequest request_;
  bool wants_tokens_ = false;
  uint64_t seed_ = 0;

  absl::Mutex mu_;
  std::optional<v1::GenerateStarted> started_ ABSL_GUARDED_BY(mu_);  // not yet written
  std::optional<engine::GenerateDelta> pending_ ABSL_GUARDED_BY(mu_);
  size_t pending_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<engine::Completion> completion_ ABSL_GUARDED_BY(mu_);
  // Before Submit has returned, or while a write is under way.
  bool busy_ ABSL_GUARDED_BY(mu_) = true;
  bool paused_ ABSL_GUARDED_BY(mu_) = false;    // the engine waits for Resume
  bool broken_ ABSL_GUARDED_BY(mu_) = false;    // a write failed: nobody reads
  bool summary_written_ ABSL_GUARDED_BY(mu_) = false;
};

void GenerateStreamCall::OnMessage(bool) {
  const absl::Status status = Submit();
  if (status.ok()) return AllowWrites();
  OnRefused(status);
  End(status);
}

absl::Status GenerateStreamCall::Submit() {
  absl::StatusOr<GenerateInput> input = ReadGenerate(message(), context(), interrupt());
  if (!input.ok()) return input.status();
  const int64_t pending = 3 * static_cast<int64_t>(context().max_pending_bytes);
  if (absl::Status status = Reserve(StreamMemoryOf(input->work, context().model, pending));
      !status.ok()) {
    return status;
  }
  ClearMessage();
  wants_tokens_ = input->work.logprobs;
  seed_ = input->work.sampling.seed;
  absl::Status status = request_.Admit(input->routing, std::move(input->request_id));
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    started_.emplace();
    started_->set_request_id(request_.request_id());
    *started_->mutable_routing() = request_.stamp();
    started_->set_prompt_tokens(static_cast<uint32_t>(input->work.prompt.size()));
  }
  request_.AddMetadata(server_context());
  StartSendInitialMetadata();
  return request_.Submit(std::move(input->work), deadline(), Shared(this));
}

void GenerateStreamCall::AllowWrites() {
  {
    absl::MutexLock lock(&mu_);
    busy_ = false;
  }
  Pump();
}

engine::Flow GenerateStreamCall::OnTokens(engine::GenerateDelta delta) {
  engine::Flow flow = engine::Flow::kContinue;
  {
    absl::MutexLock lock(&mu_);
    if (broken_) return engine::Flow::kContinue;  // its cancellation is on the way
    pending_bytes_ += PendingBytes(delta);
    if (!pending_) pending_.emplace();
    Merge(std::move(delta), &*pending_);
    paused_ = busy_ && pending_bytes_ > context().max_pending_bytes;
    if (paused_) flow = engine::Flow::kPause;
  }
  Pump();
  return flow;
}

void GenerateStreamCall::OnDone(const engine::Completion& completion) {
  request_.Report(completion.status, &completion);
  {
    absl::MutexLock lock(&mu_);
    completion_ = completion;
    // A reader that was too slow would also never take the end of its stream. Under the
    // lock, because the context lives only until Finish.
    if (busy_ && paused_ && absl::IsResourceExhausted(completion.status)) {
      server_context()->TryCancel();
    }
  }
  Pump();
}

void GenerateStreamCall::OnWritten(bool ok) {
  {
    absl::MutexLock lock(&mu_);
    busy_ = false;
    if (!ok) broken_ = true;
  }
  if (!ok) request_.Cancel();
  Pump();
}

v1::GenerateStreamResponse GenerateStreamCall::TakeDelta() {
  v1::GenerateStreamResponse message;
  v1::GenerateDelta* delta = message.mutable_delta();
  delta->set_text(std::move(pending_->text));
  for (const engine::GeneratedToken& token : pending_->tokens) {
    delta->add_token_ids(static_cast<uint32_t>(token.token));
    if (wants_tokens_) *delta->add_tokens() = ToProto(token, context().tokenizer);
  }
  if (pending_->trace.num_positions > 0) *delta->mutable_trace() = ToProto(pending_->trace);
  pending_.reset();
  pending_bytes_ = 0;
  return message;
}

std::optional<v1::GenerateStreamResponse> GenerateStreamCall::NextMessage() {
  if (broken_) return std::nullopt;
  v1::GenerateStreamResponse message;
  if (started_) {
    *message.mutable_started() = *std::exchange(started_, std::nullopt);
    return message;
  }
  if (pending_) return TakeDelta();
  if (!completion_ || !completion_->status.ok() || summary_written_) return std::nullopt;
  summary_written_ = true;
  *message.mutable_done() = SummaryOf(request_, *completion_, seed_);
  return message;
}

void GenerateStreamCall::Pump() {
  const auto alive = Shared(this);  // gRPC may be done before this function is
  std::optional<v1::GenerateStreamResponse> message;
  std::optional<absl::Status> finish;
  bool resume = false;
  {
    absl::MutexLock lock(&mu_);
    if (busy_) return;
    message = NextMessage();
    if (!message && !completion_) return;
    if (!message) finish = completion_->status;
    busy_ = true;  // also after the end: it ends once
    resume = std::exchange(paused_, false);
  }
  if (message) {
    Write(SerializeMessage(*message));
  } else {
    End(*finish);
  }
  if (resume) request_.Resume();
}

}  // namespace

ByteReactor* StartGenerateStream(const ServiceContext* context,
                                 grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GenerateStreamCall>(context, server_context);
}

}  // namespace olmoe::rpc
