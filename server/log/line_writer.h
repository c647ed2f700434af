#ifndef OLMOE_SERVER_LOG_LINE_WRITER_H_
#define OLMOE_SERVER_LOG_LINE_WRITER_H_

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::log {

// Writes lines to a file descriptor on a thread of its own, so that whoever logs never
// waits for a disk or for the reader of a pipe; least of all the engine. When too much
// waits, new lines are dropped, and a line says later how many. The thread sleeps while
// there is nothing to write. Thread-safe.
class LineWriter {
 public:
  struct Options {
    int fd = STDERR_FILENO;  // not owned
    size_t max_waiting_bytes = size_t{1} << 20;
    // The line that tells of so many dropped ones, with its end.
    std::function<std::string(uint64_t dropped)> dropped_line = {};
    // How long the destructor and Flush wait for a reader that takes nothing.
    absl::Duration patience = absl::Seconds(1);
  };
  explicit LineWriter(Options options);
  // Writes what waits, like Flush.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` has its end.
  void Write(std::string line);
  // Returns when everything that waited is written, or Options::patience is over.
  void Flush();

 private:
  void Run();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stop_ || !waiting_.empty(); }
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return waiting_.empty() && !writing_; }
  // The lines that wait, and a line about those that were dropped. Empty: the end.
  std::string TakeWaiting();
  // False: gave up, because the writer stops and the reader takes nothing.
  bool WriteAll(const std::string& text);
  // Until the descriptor takes bytes without blocking.
  bool AwaitRoom();
  bool MayWait();

  const Options options_;
  absl::Mutex mu_;
  std::deque<std::string> waiting_ ABSL_GUARDED_BY(mu_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t num_dropped_ ABSL_GUARDED_BY(mu_) = 0;  // since the last line that told of it
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time give_up_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe::log

#endif  // OLMOE_SERVER_LOG_LINE_WRITER_H_
