#ifndef OLMOE_CLIENT_BENCH_CLOCK_H_
#define OLMOE_CLIENT_BENCH_CLOCK_H_

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::client::bench {

// The time of a measurement, so that a test can be its own time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;  // never goes back; unrelated to the time of day
  // Until `until` or until `changed` is signalled; may return earlier. `mu` is held before
  // and after.
  virtual void Wait(absl::CondVar* changed, absl::Mutex* mu, absl::Time until) = 0;
};

// The machine's steady clock. Thread-safe.
class SteadyClock final : public Clock {
 public:
  absl::Time Now() override;
  void Wait(absl::CondVar* changed, absl::Mutex* mu, absl::Time until) override;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_CLOCK_H_
