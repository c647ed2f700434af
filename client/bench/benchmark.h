#ifndef OLMOE_CLIENT_BENCH_BENCHMARK_H_
#define OLMOE_CLIENT_BENCH_BENCHMARK_H_

#include <functional>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/bench/clock.h"
#include "client/bench/recorder.h"
#include "client/bench/runner.h"
#include "client/bench/swapper.h"
#include "client/bench/target.h"
#include "client/bench/traffic.h"
#include "client/transport/rpc_client.h"

namespace olmoe::client::bench {

struct RunResult {
  Measurement measurement;
  std::optional<SwapReport> swaps;  // of a run with swaps
};

// Runs of the same traffic, with and without swaps of the routing beside it. Runs one at a
// time; Stop is thread-safe.
class Benchmark {
 public:
  struct Options {
    Runner::Options run;
    std::optional<Swapper::Options> swaps;
  };
  using OnProgress = std::function<void(const Runner::Progress&)>;

  // `admin` is not to be cancelled by Ctrl-C: it brings the plan back.
  Benchmark(Options options, const Traffic* traffic, Target* target, transport::RpcClient* admin,
            Clock* clock)
      : options_(std::move(options)),
        traffic_(traffic),
        target_(target),
        admin_(admin),
        clock_(clock) {}

  // An error: the plan could not be read, or the first swap was refused; nothing was run.
  absl::StatusOr<RunResult> Run(bool with_swaps, const OnProgress& on_progress);
  // Ends the run; those to come are empty.
  void Stop();
  bool stopped() const;

 private:
  Measurement RunTraffic(const OnProgress& on_progress);

  const Options options_;
  const Traffic* const traffic_;
  Target* const target_;
  transport::RpcClient* const admin_;
  Clock* const clock_;
  mutable absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  Runner* runner_ ABSL_GUARDED_BY(mu_) = nullptr;  // while it runs
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_BENCHMARK_H_
