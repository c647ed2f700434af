#ifndef OLMOE_SERVER_UTIL_PERIODIC_H_
#define OLMOE_SERVER_UTIL_PERIODIC_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe {

// Calls a function every `period`, on a thread of its own, until it is destroyed: which waits for a
// call under way. Thread-safe.
class Periodic {
 public:
  Periodic(absl::Duration period, std::function<void()> call);
  ~Periodic();
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  void Run();

  const absl::Duration period_;
  const std::function<void()> call_;
  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_PERIODIC_H_
