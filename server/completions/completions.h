#ifndef OLMOE_SERVER_COMPLETIONS_COMPLETIONS_H_
#define OLMOE_SERVER_COMPLETIONS_COMPLETIONS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "server/completions/admission_line.h"
#include "server/completions/call_context.h"
#include "server/experiment/serving.h"
#include "server/http/message.h"
#include "server/limits/call_limits.h"
#include "server/limits/fair_workers.h"
#include "server/limits/worker_pool.h"

namespace olmoe::completions {

// What clients of OpenAI's completions API, lm-evaluation-harness and the openai package among
// them, ask for: completions, the model's name, and its tokenizer. It refuses to be more than that:
// no chat, no embeddings, and no field of a request is ignored.
//
// Wake is to be called when a request has ended; it learns by itself when memory is freed.
// Thread-safe.
class Completions {
 public:
  struct Options {
    const experiment::Serving* serving = nullptr;  // these two outlive this
    limits::CallLimits* limits = nullptr;
    bool behind_proxy = false;
    size_t streams = 256;                     // calls that are handled at once
    size_t max_waiting = 1024;                // that wait to be
    absl::Duration wait = absl::Seconds(300);  // for how long
    std::function<bool()> ready = {};  // what /health says; thread-safe, does not wait. Empty: true
  };

  // Throws std::system_error where there are no threads.
  explicit Completions(Options options);
  // REQUIRES: the routes' server has stopped, and requests of the engine end when cancelled.
  ~Completions();
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  // Outlived by this.
  std::vector<http::Route> Routes();

  // A request has ended, so others may have room. Never waits.
  void Wake() { line_.Wake(); }
  // From now on calls are refused, those that wait among them; those under way go on.
  void Drain();

  // Until all calls have ended. REQUIRES: as for the destructor.
  void AwaitCalls() const { line_.AwaitNone(); }

  // Calls that wait for a place, for memory or for the queue.
  size_t num_waiting() const { return line_.num_waiting(); }

 private:
  limits::CallLimits* const limits_;
  const int64_t start_seconds_;  // since the epoch
  AdmissionLine line_;
  limits::WorkerPool writing_;
  std::unique_ptr<limits::FairWorkers> preparing_;
  CallContext context_;
  const std::function<bool()> ready_;
  std::atomic<bool> draining_ = false;
};

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_COMPLETIONS_H_
