#ifndef OLMOE_TESTS_ENGINE_MANUAL_CLOCK_H_
#define OLMOE_TESTS_ENGINE_MANUAL_CLOCK_H_

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::engine {

// Time that passes when a test says so. An idle engine looks at it when it is called.
// Thread-safe.
class ManualClock {
 public:
  absl::Time Now() const {
    absl::MutexLock lock(&mu_);
    return now_;
  }
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mu_);
    now_ += duration;
  }
  std::function<absl::Time()> function() {
    return [this] { return Now(); };
  }

 private:
  mutable absl::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_) = absl::FromUnixSeconds(1'000'000);
};

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_MANUAL_CLOCK_H_
