#ifndef OLMOE_SERVER_LIMITS_CALL_LIMITS_H_
#define OLMOE_SERVER_LIMITS_CALL_LIMITS_H_

#include <cstdint>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/limits/answer_watch.h"
#include "server/limits/receipts.h"
#include "server/limits/request_memory.h"

namespace olmoe::limits {

// What the calls of both ports share to stay within memory and time, and the thread that looks at
// the time. Outlives the calls. Thread-safe.
class CallLimits {
 public:
  struct Options {
    int64_t max_request_memory = int64_t{1} << 30;  // --max-request-memory
    Receipts::Options receipts = {};
    AnswerWatch::Options answers = {};
    absl::Duration tick = absl::Milliseconds(200);
  };

  // Throws std::system_error where there is no thread.
  explicit CallLimits(Options options);
  ~CallLimits();

  RequestMemory& memory() { return memory_; }
  const RequestMemory& memory() const { return memory_; }
  Receipts& receipts() { return receipts_; }
  AnswerWatch& answers() { return answers_; }

  // `listener` is called too each time that memory has become free, without a lock, on any thread;
  // it must not wait. Empty: nobody is told.
  void SetFreedListener(std::function<void()> listener) ABSL_LOCKS_EXCLUDED(mu_);

  // The server ends: no call reads a message any more (Receipts::Shut).
  void Shut() { receipts_.Shut(); }
  // Until all calls have ended, or the deadline.
  void AwaitCalls(absl::Time deadline) const;

 private:
  void Loop();
  void OnFreed() ABSL_LOCKS_EXCLUDED(mu_);

  const absl::Duration tick_;
  absl::Mutex mu_;
  std::function<void()> freed_listener_ ABSL_GUARDED_BY(mu_);
  RequestMemory memory_;
  Receipts receipts_;
  AnswerWatch answers_;
  absl::Notification stop_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe::limits

#endif  // OLMOE_SERVER_LIMITS_CALL_LIMITS_H_
