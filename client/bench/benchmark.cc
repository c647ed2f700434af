#include "client/bench/benchmark.h"

#include <utility>

namespace olmoe::client::bench {

absl::StatusOr<RunResult> Benchmark::Run(bool with_swaps, const OnProgress& on_progress) {
  if (!with_swaps) return RunResult{RunTraffic(on_progress), std::nullopt};
  auto swapper = Swapper::Create(*options_.swaps, admin_);
  if (!swapper.ok()) return swapper.status();
  // What is wrong with the policies shows before there is traffic.
  if (auto status = (*swapper)->Swap(); !status.ok()) return status;
  RunResult result;
  {
    SwapLoop loop(swapper->get(), options_.swaps->every);
    result.measurement = RunTraffic(on_progress);
  }
  (*swapper)->Restore();
  result.swaps = (*swapper)->report();
  return result;
}

Measurement Benchmark::RunTraffic(const OnProgress& on_progress) {
  Runner runner(options_.run, traffic_, target_, clock_);
  {
    absl::MutexLock lock(&mu_);
    runner_ = &runner;
    if (stopped_) runner.Stop();
  }
  Measurement measurement = runner.Run(on_progress);
  absl::MutexLock lock(&mu_);
  runner_ = nullptr;
  return measurement;
}

void Benchmark::Stop() {
  absl::MutexLock lock(&mu_);
  stopped_ = true;
  if (runner_ != nullptr) runner_->Stop();
}

bool Benchmark::stopped() const {
  absl::MutexLock lock(&mu_);
  return stopped_;
}

}  // namespace olmoe::client::bench
