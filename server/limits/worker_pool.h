#ifndef OLMOE_SERVER_LIMITS_WORKER_POOL_H_
#define OLMOE_SERVER_LIMITS_WORKER_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace olmoe::limits {

// A few threads for calls that wait (a patch that waits for a drain) or have much to say: the
// threads of the network must never block. The destructor finishes what is queued. Thread-safe.
class WorkerPool {
 public:
  explicit WorkerPool(int num_threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Run(std::function<void()> work);

 private:
  void End();  // and joins
  void Loop();

  absl::Mutex mu_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace olmoe::limits

#endif  // OLMOE_SERVER_LIMITS_WORKER_POOL_H_
