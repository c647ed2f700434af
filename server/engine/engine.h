#ifndef OLMOE_SERVER_ENGINE_ENGINE_H_
#define OLMOE_SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/live_request.h"
#include "server/engine/logit_taps.h"
#include "server/engine/queue_rate.h"
#include "server/engine/request.h"
#include "server/engine/scheduler.h"
#include "server/engine/step_observer.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"

namespace olmoe::text {
class Tokenizer;
}

namespace olmoe::engine {

struct EngineOptions {
  int max_batch_sequences = 64;  // sequences that hold a slot
  int max_batch_tokens = 512;    // rows of prompts and windows in one step
  // Longest time between two tokens of a completion; prompts and windows that share its steps
  // are cut to keep it (prefill_budget.h). Zero: none.
  absl::Duration itl_target = absl::ZeroDuration();
  int max_queue = 256;           // requests waiting for their first slot
  // A paused request (Flow::kPause) is cancelled after this long.
  absl::Duration slow_reader_timeout = absl::Seconds(30);
  // The clock of every deadline and duration; thread-safe. An idle engine looks at it when it is
  // called or when, by the last look, the next deadline is due.
  std::function<absl::Time()> now = absl::Now;

  Scheduler::Options scheduler() const {
    return {.max_sequences = max_batch_sequences,
            .group_rows = max_batch_tokens,
            .itl_target = itl_target};
  }
};

// A consistent view of the engine's counters.
struct EngineStatus {
  struct RunningRequest {
    std::string request_id;
    std::string method;  // "generate", "score"
    std::string arm_id;
    uint64_t generation = 0;
    uint32_t prompt_tokens = 0;
    uint32_t completion_tokens = 0;
    absl::Duration age;
  };
  int running_requests = 0;
  int queued_requests = 0;
  int64_t kv_used_bytes = 0;
  int64_t kv_capacity_bytes = 0;
  int64_t prefix_cache_bytes = 0;  // that hold prompts, in use or not
  uint64_t cached_prompt_tokens = 0;  // not computed again, since the start
  bool draining = false;
  absl::Time drain_time = absl::InfiniteFuture();  // draining: since when
  int taps = 0;  // that have not ended
  std::vector<RunningRequest> requests;  // running and queued
};

// The counts of EngineStatus, and by arm, without a look at every request.
struct EngineLoad {
  struct Arm {
    int running = 0;
    int queued = 0;
  };
  std::map<std::string, Arm> arms;  // that have a request
  int queued_requests = 0;
  int64_t kv_used_bytes = 0;
  int64_t kv_capacity_bytes = 0;
  int64_t prefix_cache_bytes = 0;
};

// Runs many requests on one model: a bounded queue, then one loop of NextStep -> Model::Step ->
// Observe -> Deliver on a thread of its own, the only one that touches the model. Requests of
// different policies share steps; scheduler.h says which rows a step takes. KV pages for all that a
// sequence can need are reserved before its first row, so nothing is ever preempted.
//
// Other threads leave mail (new requests, cancellations, resumptions) under the one mutex; the
// engine thread takes all of it before each step, and sleeps on that mutex while it has nothing to
// compute. Sinks and taps are called from the engine thread without the mutex, so they may call
// anything but Drain and the destructor, which wait for the engine thread. Thread-safe.
class Engine {
 public:
  // `model` and `tokenizer` (may be null: then no text) outlive the engine.
  static std::unique_ptr<Engine> Create(EngineOptions options, model::Model* model,
                                        const text::Tokenizer* tokenizer,
                                        StepObserver observer = nullptr);
  // Cancels everything (UNAVAILABLE), delivers the OnDone of every request, joins the thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a validated request. Errors, after which `sink` is never called: RESOURCE_EXHAUSTED with
  // RetryInfo (queue_rate.h) when the queue is full, or would leave no room for others: a client's
  // requests may take eight times as many places as are free, so a ninth of the queue is for those
  // who have few. RESOURCE_EXHAUSTED with ErrorInfo KV_CAPACITY when a sequence
  // needs more KV pages than there are: waiting would not help that one; UNAVAILABLE with RetryInfo
  // (what is left of the grace period) while draining; DEADLINE_EXCEEDED when the deadline has
  // passed. Callbacks may come before Submit returns.
  // The sink is of the kind of request.work (CHECK).
  absl::StatusOr<RequestHandle> Submit(Request request, Sink sink);

  // The request computes at most the step that is running; then its slot and pages are free and
  // OnDone(status) follows, unless that step was its last. `status` is not OK. Unknown or finished
  // handles are ignored; of several cancellations the first counts.
  void Cancel(RequestHandle handle, absl::Status status);

  // Goes on with a paused request. Harmless for others. A Resume that comes after the callback
  // began whose kPause it answers is never lost.
  void Resume(RequestHandle handle);

  // Lets `tap` (logit_taps.h) see the requests of its arms from the next step on. Errors, after
  // which it is never called: UNAVAILABLE while draining.
  absl::StatusOr<TapHandle> Tap(LogitTap tap);
  // The tap sees at most the step that is running; then its on_done(status) follows. `status` is
  // not OK. Unknown or ended taps are ignored.
  void Untap(TapHandle handle, absl::Status status);

  // Refuses new requests from now on and ends all taps; waits until the accepted requests are
  // finished, and cancels those left at the deadline (UNAVAILABLE). Returns how many these were.
  int Drain(absl::Time deadline);

  EngineStatus Status() const;
  // Costs the same however many requests there are.
  EngineLoad Load() const;

 private:
  // What other threads want of the engine thread.
  struct Mail {
    struct Cancellation {
      RequestHandle handle;
      absl::Status status;
    };
    struct NewTap {
      TapHandle handle;
      LogitTap tap;
    };
    std::vector<std::unique_ptr<LiveRequest>> submitted;
    std::vector<Cancellation> cancelled;
    std::vector<RequestHandle> resumed;
    std::vector<NewTap> taps;
    std::vector<Cancellation> untapped;
    bool untap_all = false;
    bool cancel_all = false;
    bool stop = false;
    bool empty() const;
  };
  // What Status tells about a request.
  struct Tracked {
    EngineStatus::RunningRequest request;  // but for the age
    std::string client;
    absl::Time submitted;
    bool queued = true;
  };

  Engine(EngineOptions options, model::Model* model, const text::Tokenizer* tokenizer,
         StepObserver observer);

  // engine.cc: any thread.
  absl::Status CheckFits(const Request& request) const;
  absl::Status Refusal(const std::string& client, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  RequestHandle Track(const LiveRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LeaveQueue(Tracked* tracked, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Untrack(RequestHandle handle) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasMail() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !mail_.empty(); }
  bool AllDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return num_undone_ == 0; }

  // engine_loop.cc: engine thread only.
  void Run();
  // Waits until there is mail, at the longest until `wake_at`.
  Mail TakeMail(absl::Time wake_at);
  void HandleMail(Mail mail);
  void HandleTapMail(Mail* mail);
  void EndExpired();
  absl::Time NextDue() const;
  void RunStep();
  void BeginStep(absl::Time now);
  void Observe(absl::Time begin, absl::Time end);
  void Deliver(const ScheduledChunk& chunk, model::ChunkOutput output, absl::Time now);
  // From the beginning of the sequence or behind what was delivered to the end of the chunk.
  RoutingTrace TraceOf(const ScheduledChunk& chunk, const model::ChunkOutput& output);
  void DeliverToken(const ScheduledChunk& chunk, model::ChunkOutput output, absl::Time now);
  // True: it was the completion's last.
  bool AddToken(Sequence* sequence, model::SampledToken sampled, GenerateDelta* delta);
  void DeliverScores(const ScheduledChunk& chunk, model::ChunkOutput output, absl::Time now);
  void ObeyFlow(LiveRequest* request, Flow flow, absl::Time now);
  void PublishPages() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PublishProgress();
  // The request ends when the chunks of this step are delivered.
  void SetOutcome(LiveRequest* request, absl::Status status);
  void EndRequestsWithOutcome();
  void EndAll(const absl::Status& status);
  void OnTapEnded();
  void End(RequestHandle handle, absl::Status status);

  // Constant after construction.
  const EngineOptions options_;
  model::Model* const model_;
  const text::Tokenizer* const tokenizer_;
  const StepObserver observer_;

  mutable absl::Mutex mu_;
  Mail mail_ ABSL_GUARDED_BY(mu_);
  RequestHandle next_handle_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<RequestHandle, Tracked> tracked_ ABSL_GUARDED_BY(mu_);  // accepted, not ended
  int num_queued_ ABSL_GUARDED_BY(mu_) = 0;                        // of tracked_
  std::map<std::string, int> queued_of_client_ ABSL_GUARDED_BY(mu_);  // of tracked_, not 0
  std::map<std::string, EngineLoad::Arm> arms_ ABSL_GUARDED_BY(mu_);  // of tracked_
  int num_undone_ ABSL_GUARDED_BY(mu_) = 0;  // requests and taps whose OnDone has not returned
  int num_taps_ ABSL_GUARDED_BY(mu_) = 0;
  TapHandle next_tap_ ABSL_GUARDED_BY(mu_) = 1;
  int num_used_pages_ ABSL_GUARDED_BY(mu_) = 0;
  int num_kept_pages_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t cached_prompt_tokens_ ABSL_GUARDED_BY(mu_) = 0;
  QueueRate queue_rate_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time drain_time_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();  // of the first Drain
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  int num_cut_off_ ABSL_GUARDED_BY(mu_) = 0;  // cancelled at the drain deadline

  // Engine thread only.
  Scheduler scheduler_;
  LogitTaps taps_;
  std::map<RequestHandle, std::unique_ptr<LiveRequest>> live_;  // in order of arrival
  ScheduledStep step_;
  model::StepOutput output_;
  std::vector<StepRows> step_rows_;
  std::vector<LiveRequest*> with_outcome_;

  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_ENGINE_H_
