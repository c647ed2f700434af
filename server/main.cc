// olmoe-server: options -> Server -> wait for a signal -> drain.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "server/library_logs.h"
#include "server/log/line_writer.h"
#include "server/log/log_line.h"
#include "server/log/queued_log.h"
#include "server/options.h"
#include "server/server.h"
#include "server/signals.h"

namespace {

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

void Tell(const absl::Status& status, olmoe::log::LogFormat format) {
  const std::string message(status.message());
  const std::string line =
      format == olmoe::log::LogFormat::kText
          ? absl::StrCat("olmoe-server: ", message, "\n")
          : olmoe::log::FormatLine(
                {.time = absl::Now(), .severity = "ERROR", .message = message, .fields = {}},
                format);
  std::fputs(line.c_str(), stderr);
}

// An error is one of the start.
absl::Status Serve(olmoe::Options options, olmoe::Signals* signals) {
  const olmoe::log::LogFormat format = options.log_format;
  olmoe::log::LineWriter log({.dropped_line = [format](uint64_t dropped) {
    return olmoe::log::FormatLine({.time = absl::Now(),
                                   .severity = "WARNING",
                                   .message = "log lines dropped: stderr is slow",
                                   .fields = {{"lines", dropped}}},
                                  format);
  }});
  const olmoe::log::QueuedLog queued(format, &log);
  signals->SetFlushLog([&log] { log.Flush(); });
  const absl::Cleanup forget_log = [signals] { signals->SetFlushLog({}); };

  auto server = olmoe::Server::Create(std::move(options), &log,
                                      LoadingProgress(format == olmoe::log::LogFormat::kText));
  if (!server.ok()) return server.status();
  // A reload may wait behind a patch; nothing waits for it before the server has drained,
  // which ends whatever it waits for.
  olmoe::Reloader reloader([&server] { (*server)->ReloadRouting(); });
  signals->StartServing([&reloader] { reloader.Request(); });
  const absl::Cleanup stop_serving = [signals] { signals->StopServing(); };
  if (absl::Status status = (*server)->Start(); !status.ok()) return status;
  signals->WaitForSignal();
  reloader.Stop();
  LOG(INFO) << "draining";
  const int cancelled = (*server)->Drain();
  LOG(INFO) << "drained, " << cancelled << " requests cut off";
  return absl::OkStatus();
}

// What a part of the start threw.
absl::Status StartError(const std::exception& error) {
  const auto* of_system = dynamic_cast<const std::system_error*>(&error);
  const bool no_thread =
      of_system != nullptr && of_system->code() == std::errc::resource_unavailable_try_again;
  return absl::ResourceExhaustedError(absl::StrCat(
      "cannot start: ", error.what(),
      no_thread ? ": no thread could be made; see ulimit -u, the cgroup's pids.max and limits "
                  "of memory"
                : ""));
}

absl::Status SetUpAndServe(olmoe::Options options) {
  try {
    static auto& signals = *new olmoe::Signals();  // its thread outlives main
    return Serve(std::move(options), &signals);
  } catch (const std::exception& error) {
    return StartError(error);
  }
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
  const olmoe::log::LogFormat format = command_line.options.log_format;
  const absl::Status status = SetUpAndServe(std::move(command_line.options));
  if (status.ok()) return 0;
  Tell(status, format);
  // Without the exit handlers of libraries: OpenBLAS's waits for threads that try for ever
  // to get the memory that there is not.
  if (absl::IsResourceExhausted(status)) std::_Exit(1);
  return 1;
}
