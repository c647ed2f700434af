#ifndef OLMOE_SERVER_ENGINE_ENGINE_H_
#define OLMOE_SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"
#include "server/routing/record.h"

namespace olmoe::text {
class Tokenizer;
}

namespace olmoe::engine {

struct EngineOptions {
  int max_batch_sequences = 64;  // sequences that hold a slot
  int max_batch_tokens = 512;    // rows of one step
  int max_queue = 256;           // requests waiting for their first slot
  // A paused request (Flow::kPause) is cancelled after this long.
  absl::Duration slow_reader_timeout = absl::Seconds(30);
  std::function<absl::Time()> now = absl::Now;
};

// One row range of a finished step, for statistics: rows
// [first_row, first_row + num_rows) of the record belong to this arm and phase.
enum class Phase { kPrefill, kDecode, kScore };
struct StepRows {
  const routing::Assignment* assignment;
  Phase phase;
  int first_row;
  int num_rows;
};
// Called on the engine thread after every step; must not block.
using StepObserver = std::function<void(const std::vector<StepRows>& rows,
                                        const routing::RoutingRecord& record,
                                        absl::Duration step_time)>;

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
  bool draining = false;
  std::vector<RunningRequest> requests;  // running and queued
};

using RequestHandle = uint64_t;

// Runs many requests on one model: a bounded queue, then one loop of
// NextBatch -> Model::Step -> Record -> Deliver on a thread of its own, the only
// one that touches the model. Requests of different policies share steps. KV pages
// for all that a sequence can need are reserved before its first row, so nothing
// is ever preempted.
// Thread-safe.
class Engine {
 public:
  // `model` and `tokenizer` (may be null: then no text) outlive the engine.
  static std::unique_ptr<Engine> Create(EngineOptions options, model::Model* model,
                                        const text::Tokenizer* tokenizer,
                                        StepObserver observer = nullptr);
  // Cancels everything, delivers the OnDone of every request, joins the thread.
  ~Engine();

  // Queues a validated request. Errors, after which `sink` is never called:
  // RESOURCE_EXHAUSTED with RetryInfo when the queue is full or the request needs
  // more KV pages than there are; UNAVAILABLE with RetryInfo while draining;
  // DEADLINE_EXCEEDED when the deadline has passed.
  absl::StatusOr<RequestHandle> Submit(Request request, std::shared_ptr<TokenSink> sink);

  // The request computes at most the step that is running; then its slot and
  // pages are free and OnDone(status) follows. Unknown or finished handles are
  // ignored.
  void Cancel(RequestHandle handle, absl::Status status);

  // Goes on with a paused request. Harmless for others.
  void Resume(RequestHandle handle);

  // Refuses new requests from now on, waits until the accepted ones are finished,
  // and cancels those left at the deadline. Returns how many were cancelled.
  int Drain(absl::Time deadline);

  EngineStatus Status() const;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_ENGINE_H_
