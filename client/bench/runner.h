#ifndef OLMOE_CLIENT_BENCH_RUNNER_H_
#define OLMOE_CLIENT_BENCH_RUNNER_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/bench/clock.h"
#include "client/bench/outcome.h"
#include "client/bench/recorder.h"
#include "client/bench/target.h"
#include "client/bench/traffic.h"

namespace olmoe::client::bench {

// Sends the requests of one run and measures them.
//
// Closed loop: `concurrency` requests are under way, the next is due when one ends. Such a
// load slows down with the server. Open loop: requests are due at the times of `arrivals`,
// whether the server keeps up or not. One that is due while `max_in_flight` are under way is
// dropped and counted, so that a server that falls behind does not exhaust this machine.
//
// One thread sends (Run's), those of the target measure. Run once; Stop is thread-safe.
class Runner {
 public:
  struct Options {
    int concurrency = 1;
    std::optional<Arrivals::Options> arrivals = std::nullopt;  // set: open loop
    int max_in_flight = 1024;  // of an open loop
    absl::Duration warmup = absl::ZeroDuration();  // before what is measured
    absl::Duration duration = absl::InfiniteDuration();  // of what is measured
    uint64_t requests = 0;  // measured ones that are due; 0 = any number
  };
  // What a line of progress tells.
  struct Progress {
    absl::Duration elapsed;  // since the first request, warm-up included
    uint64_t requests = 0, tokens = 0, errors = 0;
    int in_flight = 0;
  };

  Runner(const Options& options, const Traffic* traffic, Target* target, Clock* clock);

  // Until every request has ended. `on_progress` is called several times a second.
  Measurement Run(const std::function<void(const Progress&)>& on_progress);
  // Nothing more is sent, and what is under way is cancelled and not counted.
  void Stop();

 private:
  // When the next request is due, once it is; nullopt: there is none.
  std::optional<absl::Time> NextTurn();
  std::optional<absl::Time> NextClosed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<absl::Time> NextOpen() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Send(absl::Time due);
  void Done(Outcome outcome);
  void WaitForAll();
  // Until a request ends, or `until`; tells of the progress.
  void Wait(absl::Time until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Tell() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  const Options options_;
  const Traffic* const traffic_;
  Target* const target_;
  Clock* const clock_;
  const absl::Time start_;
  const TimeWindow window_;

  // Run's thread only.
  std::function<void(const Progress&)> on_progress_;
  std::optional<Arrivals> arrivals_;
  uint64_t next_index_ = 0;
  uint64_t measured_due_ = 0;

  absl::Mutex mu_;
  absl::CondVar changed_;
  Recorder recorder_ ABSL_GUARDED_BY(mu_);
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time not_before_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();  // of a closed loop
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_RUNNER_H_
