#ifndef OLMOE_TESTS_ENGINE_RESUMER_H_
#define OLMOE_TESTS_ENGINE_RESUMER_H_

#include <map>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/engine.h"

namespace olmoe::engine {

// A slow reader: a thread that resumes, some time later, every request that paused.
// Thread-safe.
class Resumer {
 public:
  explicit Resumer(Engine* engine);
  ~Resumer();

  // A name for a request that has no handle yet.
  int NewReader();
  // From the reader's sink, which returns kPause.
  void OnPause(int reader);
  // After Submit.
  void SetHandle(int reader, RequestHandle handle);

 private:
  struct Reader {
    RequestHandle handle = 0;
    bool paused = false;
  };

  void Run();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stop_ || !due_.empty(); }
  void MoveIfDue(Reader* reader) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Engine* const engine_;
  absl::Mutex mu_;
  std::map<int, Reader> readers_ ABSL_GUARDED_BY(mu_);
  std::vector<RequestHandle> due_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_RESUMER_H_
