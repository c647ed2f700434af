#include "server/log/line_writer.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/time/clock.h"

namespace olmoe::log {

LineWriter::LineWriter(Options options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

LineWriter::~LineWriter() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
    give_up_ = absl::Now() + options_.patience;
  }
  thread_.join();
}

void LineWriter::Write(std::string line) {
  absl::MutexLock lock(&mu_);
  if (waiting_bytes_ + line.size() > options_.max_waiting_bytes) {
    ++num_dropped_;
    return;
  }
  waiting_bytes_ += line.size();
  waiting_.push_back(std::move(line));
}

void LineWriter::Flush() {
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(this, &LineWriter::IsIdle), options_.patience);
}

void LineWriter::Run() {
  pthread_setname_np(pthread_self(), "log");
  for (std::string text = TakeWaiting(); !text.empty(); text = TakeWaiting()) {
    if (!WriteAll(text)) return;
  }
}

std::string LineWriter::TakeWaiting() {
  std::deque<std::string> lines;
  uint64_t dropped = 0;
  {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    mu_.Await(absl::Condition(this, &LineWriter::HasWork));
    lines.swap(waiting_);
    waiting_bytes_ = 0;
    dropped = std::exchange(num_dropped_, 0);
    writing_ = true;
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  if (dropped > 0 && options_.dropped_line) text += options_.dropped_line(dropped);
  return text;
}

bool LineWriter::WriteAll(const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    if (!AwaitRoom()) return false;
    // A pipe that has room takes this much without blocking.
    const size_t size = std::min<size_t>(text.size() - done, PIPE_BUF);
    const ssize_t written = write(options_.fd, text.data() + done, size);
    if (written > 0) {
      done += static_cast<size_t>(written);
    } else if (errno != EINTR && errno != EAGAIN) {
      return true;  // nobody reads it any more; the server goes on without a log
    }
  }
  return true;
}

bool LineWriter::AwaitRoom() {
  constexpr int kLookAtStopMs = 50;
  pollfd descriptor = {options_.fd, POLLOUT, 0};
  while (poll(&descriptor, 1, kLookAtStopMs) <= 0) {
    if (!MayWait()) return false;
  }
  return true;
}

bool LineWriter::MayWait() {
  absl::MutexLock lock(&mu_);
  return absl::Now() < give_up_;
}

}  // namespace olmoe::log
