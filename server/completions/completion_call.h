#ifndef OLMOE_SERVER_COMPLETIONS_COMPLETION_CALL_H_
#define OLMOE_SERVER_COMPLETIONS_COMPLETION_CALL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/completions/admission_line.h"
#include "server/completions/call_context.h"
#include "server/completions/completion_request.h"
#include "server/completions/reply_writer.h"
#include "server/engine/token_sink.h"
#include "server/experiment/engine_request.h"
#include "server/http/message.h"
#include "server/limits/request_memory.h"

namespace olmoe::completions {

// One POST /v1/completions: waits in line for a place and for memory to read its body, is parsed
// and tokenized by a worker, stands in line again until the engine has taken each of its prompts,
// and is answered by another worker, whole or event by event. All prompts are routed by one plan,
// pinned and assigned once. The client may go, and the server end, at any time.
//
// Of the threads that pass it on, one at a time has it in hand (the line's, then the preparing
// worker's, then the line's); the engine and the network call in between. It lives as long as one
// of them, the engine or an unfinished stream has it. Thread-safe.
class CompletionCall final : public AdmissionLine::Waiter,
                             public std::enable_shared_from_this<CompletionCall> {
 public:
  // Takes the request; network thread. `context` outlives the call.
  static void Start(const CallContext* context, http::Request request, http::Reply reply);

  CompletionCall(const CallContext* context, http::Request request, http::Reply reply);
  ~CompletionCall() override;

 private:
  class PromptSink;
  // What the engine says of a prompt.
  struct Event {
    size_t prompt = 0;
    engine::GenerateDelta delta;
    std::optional<engine::Completion> done;
  };

  // AdmissionLine::Waiter, the line's thread.
  bool TryEnter() override;
  absl::Time WaitsUntil() const override;
  void OnTurnedAway(const absl::Status& status) override { Refuse(status); }

  bool TryPrepare();
  // A worker.
  void Prepare();
  void JoinLine();
  bool TrySubmit();
  absl::Status SubmitNext();
  void OnFirstSubmitted();
  int64_t MemoryOfReply() const;

  // The engine's thread.
  engine::Flow OnTokens(size_t prompt, engine::GenerateDelta delta);
  void OnDone(size_t prompt, const engine::Completion& completion);

  // Has a worker call Write, unless one does.
  void ScheduleWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Write();
  void Answer();

  // Of a stream.
  bool is_behind() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Pushes what there is room for, and ends the stream behind its last byte.
  void PushUnsent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Lets the engine go on where nothing waits for the reader.
  void ResumePaused();
  void OnTaken();

  // The client has gone; network thread.
  void OnGone();
  // The call ends with `status`, unless it has ended: what runs of it is cancelled, and the client
  // is told. Any thread.
  void Fail(const absl::Status& status);
  // The same, by who has it in hand; where no prompt was submitted that is counted and logged.
  void Refuse(const absl::Status& status);
  bool has_ended() const;

  // Constant after construction.
  const CallContext* const context_;
  const http::Reply reply_;
  const std::string client_;
  const uint64_t ticket_;
  const absl::Time deadline_;  // of its first prompt's submission

  // Who has it in hand.
  std::string body_;
  limits::RequestMemory::Hold hold_;
  bool has_place_ = false;
  bool has_memory_ = false;  // for the reply
  bool is_counted_ = false;  // a request of it was submitted, or its refusal told
  size_t num_submitted_ = 0;
  routing::PlanPin pin_;  // while some prompts are submitted and others are not

  // Constant after Prepare.
  std::optional<CompletionRequest> request_;  // but for the prompts that were submitted
  bool is_stream_ = false;

  // Who writes: at most one worker, and before it OnFirstSubmitted.
  std::optional<ReplyWriter> writer_;
  http::Fields stamp_fields_;

  std::stop_source stop_;

  mutable absl::Mutex mu_;
  // Set once by Prepare; the pointers are constant then.
  std::vector<std::unique_ptr<experiment::EngineRequest>> requests_ ABSL_GUARDED_BY(mu_);
  bool has_ended_ ABSL_GUARDED_BY(mu_) = false;  // answered, failed, or the client has gone
  bool may_write_ ABSL_GUARDED_BY(mu_) = false;  // the first prompt was submitted
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  size_t num_done_ ABSL_GUARDED_BY(mu_) = 0;  // prompts
  // Of a stream.
  std::shared_ptr<http::Stream> stream_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<CompletionCall> self_ ABSL_GUARDED_BY(mu_);  // until all of it is pushed
  std::string unsent_ ABSL_GUARDED_BY(mu_);
  bool is_last_ ABSL_GUARDED_BY(mu_) = false;  // nothing follows what is unsent
  std::vector<size_t> paused_ ABSL_GUARDED_BY(mu_);  // prompts that the engine holds for us
};

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_COMPLETION_CALL_H_
