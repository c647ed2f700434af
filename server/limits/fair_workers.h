#ifndef OLMOE_SERVER_LIMITS_FAIR_WORKERS_H_
#define OLMOE_SERVER_LIMITS_FAIR_WORKERS_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/util/interrupt.h"

namespace olmoe::limits {

// A few threads for work that takes long, shared fairly by clients: clients take turns, and a
// client has one thread at a time, so that with two threads the large requests of one never
// hold up those of another. What waits is bounded, and leaves the queue at once when it is
// cancelled. No work is begun for a call whose deadline has passed.
//
// The destructor refuses what waits, with UNAVAILABLE, and ends what runs. Thread-safe.
class FairWorkers {
 public:
  struct Options {
    int threads = 2;
    size_t max_waiting = 128;  // of all clients
    size_t max_waiting_per_client = 32;
  };

  // One of `run` and `refuse` is called, once.
  struct Work {
    std::string client;  // what is told apart: a connection, say
    Interrupt interrupt;
    // On a thread of the pool. Long work looks at `interrupt` itself.
    std::function<void()> run;
    // On any thread, the caller's of Run and the one that requests the stop among them.
    // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED with RetryInfo, or UNAVAILABLE.
    std::function<void(const absl::Status&)> refuse;
  };

  // Throws std::system_error where there are no threads.
  explicit FairWorkers(Options options);
  ~FairWorkers();
  FairWorkers(const FairWorkers&) = delete;
  FairWorkers& operator=(const FairWorkers&) = delete;

  void Run(Work work) ABSL_LOCKS_EXCLUDED(mu_);

  size_t num_waiting() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiting {
    Work work;
    // Takes it out of the queue. Gone once it has left.
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
  };
  using WaitingPtr = std::unique_ptr<Waiting>;

  // A client that has work here.
  struct Client {
    std::list<WaitingPtr> waiting;
    bool running = false;
  };

  void Loop() ABSL_LOCKS_EXCLUDED(mu_);
  void End() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for the next piece of work; null: the pool ends.
  WaitingPtr Take() ABSL_LOCKS_EXCLUDED(mu_);
  void EndTurn(const std::string& client) ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel(const Waiting* cancelled) ABSL_LOCKS_EXCLUDED(mu_);

  // Takes `waiting` over, or says why not.
  absl::Status Enqueue(WaitingPtr* waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Null where it has left already.
  WaitingPtr Remove(const Waiting* waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;

  mutable absl::Mutex mu_;
  std::map<std::string, Client> clients_ ABSL_GUARDED_BY(mu_);
  // Clients that have work waiting and none running, the next one first.
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mu_);
  size_t num_waiting_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace olmoe::limits

#endif  // OLMOE_SERVER_LIMITS_FAIR_WORKERS_H_
