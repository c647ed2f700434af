#ifndef OLMOE_SERVER_SIGNALS_H_
#define OLMOE_SERVER_SIGNALS_H_

#include <atomic>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace olmoe {

// SIGTERM and SIGINT as an event, SIGHUP as a call, on a thread that never waits. Until
// the server serves, SIGTERM or SIGINT ends the process, and a SIGHUP is kept; later the
// first SIGTERM or SIGINT is told to WaitForSignal, and a second one ends the process.
// Both ends are at once, with a line in the log and the exit code 128 + signal. One object
// in a process, never destroyed: its thread outlives main. Thread-safe.
class Signals {
 public:
  // From now on signals are taken. Throws std::system_error where there are no threads.
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // What writes the waiting lines of the log, within a second or so. Not called any more
  // after the next call returns; empty: none.
  void SetFlushLog(std::function<void()> flush_log);

  // `hangup`, which must not wait, is called for each SIGHUP from now on, and for those
  // that came before; not any more once StopServing has returned.
  void StartServing(std::function<void()> hangup);
  void StopServing();

  void WaitForSignal() { first_.WaitForNotification(); }

 private:
  void Loop();
  void HangUp();
  [[noreturn]] void EndAtOnce(int signal);

  std::atomic<bool> serving_ = false;  // and stays so
  absl::Mutex mu_;
  std::function<void()> flush_log_ ABSL_GUARDED_BY(mu_);
  std::function<void()> hangup_ ABSL_GUARDED_BY(mu_);  // empty: not yet
  bool hangup_waits_ ABSL_GUARDED_BY(mu_) = false;
  absl::Notification first_;
};

// Runs a function that may wait, on a thread of its own and once at a time. Requests that
// come while it runs become one more run. Thread-safe.
class Reloader {
 public:
  // Throws std::system_error where there are no threads.
  explicit Reloader(std::function<void()> reload);
  // As Stop; then waits for the run that has begun.
  ~Reloader();
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

  // Both return at once. After Stop no run begins.
  void Request();
  void Stop();

 private:
  void Loop();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return requested_ || stopped_; }

  const std::function<void()> reload_;
  absl::Mutex mu_;
  bool requested_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_SIGNALS_H_
