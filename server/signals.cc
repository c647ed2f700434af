#include "server/signals.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "glog/logging.h"

namespace olmoe {
namespace {

// The handler only writes the signal's number here; a thread does the rest. Blocking the
// signals and sigwait() would need no handler, but libraries start threads before main()
// (OpenBLAS does), which do not block them.
int signal_pipe[2];

extern "C" void PassOn(int signal) {
  const int saved_errno = errno;
  const char number = static_cast<char>(signal);
  [[maybe_unused]] const ssize_t written = write(signal_pipe[1], &number, 1);
  errno = saved_errno;
}

}  // namespace

Signals::Signals() {
  PCHECK(pipe2(signal_pipe, O_CLOEXEC) == 0);
  std::thread([this] { Loop(); }).detach();
  struct sigaction action = {};
  action.sa_handler = &PassOn;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaction(signal, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a client that is gone is an error of its socket
  signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of its write
}

void Signals::SetFlushLog(std::function<void()> flush_log) {
  absl::MutexLock lock(&mu_);
  flush_log_ = std::move(flush_log);
}

void Signals::StartServing(std::function<void()> hangup) {
  absl::MutexLock lock(&mu_);
  hangup_ = std::move(hangup);
  serving_ = true;
  if (std::exchange(hangup_waits_, false)) hangup_();
}

void Signals::StopServing() {
  absl::MutexLock lock(&mu_);
  hangup_ = [] {};
}

void Signals::Loop() {
  pthread_setname_np(pthread_self(), "signals");
  char number = 0;
  while (read(signal_pipe[0], &number, 1) == 1) {
    if (number == SIGHUP) {
      HangUp();
    } else if (!serving_ || first_.HasBeenNotified()) {
      EndAtOnce(number);
    } else {
      first_.Notify();
    }
  }
}

void Signals::HangUp() {
  absl::MutexLock lock(&mu_);
  if (hangup_) {
    hangup_();
  } else {
    hangup_waits_ = true;
  }
}

void Signals::EndAtOnce(int signal) {
  LOG(WARNING) << (signal == SIGINT ? "SIGINT" : "SIGTERM")
               << (serving_ ? " again: ends at once, requests are cut off"
                            : " before the server serves: ends at once");
  absl::MutexLock lock(&mu_);
  if (flush_log_) flush_log_();
  _exit(128 + signal);
}

Reloader::Reloader(std::function<void()> reload)
    : reload_(std::move(reload)), thread_([this] { Loop(); }) {}

Reloader::~Reloader() {
  Stop();
  thread_.join();
}

void Reloader::Request() {
  absl::MutexLock lock(&mu_);
  requested_ = true;
}

void Reloader::Stop() {
  absl::MutexLock lock(&mu_);
  stopped_ = true;
}

void Reloader::Loop() {
  pthread_setname_np(pthread_self(), "reload");
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &Reloader::HasWork));
      if (stopped_) return;
      requested_ = false;
    }
    reload_();
  }
}

}  // namespace olmoe
