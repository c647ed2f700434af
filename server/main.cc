// olmoe-server: options -> Server -> wait for a signal -> drain.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "server/library_logs.h"
#include "server/log/line_writer.h"
#include "server/log/log_line.h"
#include "server/log/queued_log.h"
#include "server/options.h"
#include "server/server.h"

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

// SIGTERM and SIGINT as an event, SIGHUP as a call. While the model loads a signal ends
// the process; later the first SIGTERM or SIGINT is told to WaitForSignal, and a second
// one ends the process. One object, never destroyed. Thread-safe.
class Signals {
 public:
  Signals() {
    PCHECK(pipe2(signal_pipe, O_CLOEXEC) == 0);
    std::thread([this] { Loop(); }).detach();
    struct sigaction action = {};
    action.sa_handler = &PassOn;
    action.sa_flags = SA_RESTART;
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaction(signal, &action, nullptr);
    signal(SIGPIPE, SIG_IGN);  // a client that is gone is an error of its socket
    signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of its write
  }

  // `reload` is called for each SIGHUP from now on, until StopReloading returns.
  void StartServing(std::function<void()> reload) {
    absl::MutexLock lock(&reload_mu_);
    reload_ = std::move(reload);
    serving_ = true;
  }
  void StopReloading() {
    absl::MutexLock lock(&reload_mu_);
    reload_ = [] {};
  }
  void WaitForSignal() { first_.WaitForNotification(); }

 private:
  void Loop() {
    char number = 0;
    while (read(signal_pipe[0], &number, 1) == 1) {
      if (number == SIGHUP && serving_) {
        absl::MutexLock lock(&reload_mu_);
        reload_();
        continue;
      }
      if (!serving_ || first_.HasBeenNotified()) _exit(128 + number);
      first_.Notify();
    }
  }

  std::atomic<bool> serving_ = false;
  absl::Mutex reload_mu_;  // held while reloading
  std::function<void()> reload_ ABSL_GUARDED_BY(reload_mu_);
  absl::Notification first_;
};

// A line that rewrites itself on a terminal, a few lines in a log.
class LoadingProgress {
 public:
  explicit LoadingProgress(bool may_rewrite)
      : on_terminal_(may_rewrite && isatty(STDERR_FILENO) == 1) {}

  void operator()(size_t bytes_done, size_t bytes_total) {
    if (bytes_total == 0) return;
    const int percent = static_cast<int>(100.0 * static_cast<double>(bytes_done) /
                                         static_cast<double>(bytes_total));
    const int step = on_terminal_ ? 1 : 25;
    if (percent / step == last_ / step) return;
    last_ = percent;
    if (on_terminal_) {
      std::fprintf(stderr, "\rloading %3d%%%s", percent, percent == 100 ? "\n" : "");
    } else {
      LOG(INFO) << "loaded " << percent << "% of " << (bytes_total >> 20) << " MiB";
    }
  }

 private:
  const bool on_terminal_;
  int last_ = 0;
};

int Fail(const absl::Status& status, olmoe::log::LineWriter* log) {
  log->Flush();
  std::fprintf(stderr, "olmoe-server: %s\n", std::string(status.message()).c_str());
  return 1;
}

int Serve(olmoe::Options options, Signals* signals) {
  const olmoe::log::LogFormat format = options.log_format;
  olmoe::log::LineWriter log({.dropped_line = [format](uint64_t dropped) {
    return olmoe::log::FormatLine({.time = absl::Now(),
                                   .severity = "WARNING",
                                   .message = "log lines dropped: stderr is slow",
                                   .fields = {{"lines", dropped}}},
                                  format);
  }});
  const olmoe::log::QueuedLog queued(format, &log);
  auto server = olmoe::Server::Create(std::move(options), &log,
                                      LoadingProgress(format == olmoe::log::LogFormat::kText));
  if (!server.ok()) return Fail(server.status(), &log);
  signals->StartServing([&server] { (*server)->ReloadRouting(); });
  if (absl::Status status = (*server)->Start(); !status.ok()) {
    signals->StopReloading();
    return Fail(status, &log);
  }
  signals->WaitForSignal();
  signals->StopReloading();
  LOG(INFO) << "draining";
  const int cancelled = (*server)->Drain();
  LOG(INFO) << "drained, " << cancelled << " requests cut off";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  olmoe::RedirectLibraryLogs();
  olmoe::CommandLine command_line = olmoe::ParseCommandLine(argc, argv);
  if (command_line.exit_code) {
    std::fputs(command_line.message.c_str(), *command_line.exit_code == 0 ? stdout : stderr);
    return *command_line.exit_code;
  }
  // Its thread outlives main.
  static auto& signals = *new Signals();
  return Serve(std::move(command_line.options), &signals);
}
