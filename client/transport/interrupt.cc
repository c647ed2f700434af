#include "client/transport/interrupt.h"

#include <csignal>
#include <thread>
#include <utility>

#include <unistd.h>

#include "absl/base/const_init.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace olmoe::client::transport {
namespace {

ABSL_CONST_INIT absl::Mutex mu(absl::kConstInit);
bool interrupted ABSL_GUARDED_BY(mu) = false;

constexpr int kEndedBySignal = 128 + SIGINT;  // as shells count it

// Leaked: the signal thread outlives static destruction.
std::function<void()>& Cancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
  static auto* cancel = new std::function<void()>;
  return *cancel;
}

void OnInterrupt() {
  absl::MutexLock lock(&mu);
  if (interrupted || !Cancel()) _exit(kEndedBySignal);
  interrupted = true;
  Cancel()();
}

}  // namespace

void InstallInterrupt() {
  struct sigaction inherited;
  if (sigaction(SIGINT, nullptr, &inherited) != 0 || inherited.sa_handler == SIG_IGN) return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int signal = 0;
    while (sigwait(&signals, &signal) == 0) OnInterrupt();
  }).detach();
}

bool Interrupted() {
  absl::MutexLock lock(&mu);
  return interrupted;
}

InterruptScope::InterruptScope(std::function<void()> cancel) {
  absl::MutexLock lock(&mu);
  Cancel() = std::move(cancel);
}

InterruptScope::~InterruptScope() {
  absl::MutexLock lock(&mu);
  Cancel() = nullptr;
}

}  // namespace olmoe::client::transport
