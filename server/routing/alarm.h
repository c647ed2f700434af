#ifndef OLMOE_SERVER_ROUTING_ALARM_H_
#define OLMOE_SERVER_ROUTING_ALARM_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::routing {

// One time at which a function is called, on a thread of its own; it sleeps until
// then. The function may set the alarm again, and must not destroy it. Thread-safe.
class Alarm {
 public:
  explicit Alarm(std::function<void()> ring);
  // Waits for a call that is under way.
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  // In place of the time set before; a time that is past rings at once, an infinite
  // one never.
  void Set(absl::Time time);

 private:
  void Loop();

  const std::function<void()> ring_;
  absl::Mutex mu_;
  absl::Time time_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_ALARM_H_
