#include "server/http/stream.h"

#include <utility>

namespace olmoe::http {

bool Stream::Push(std::string_view data) {
  absl::MutexLock lock(&mu_);
  if (finished_ || overrun_ || detached_) return false;
  overrun_ = waiting_.size() + data.size() > kMaxWaitingBytes;
  if (!overrun_) waiting_.append(data);
  Wake();
  return !overrun_;
}

void Stream::Finish() {
  absl::MutexLock lock(&mu_);
  finished_ = true;
  Wake();
}

void Stream::Wake() {
  if (wake_ == nullptr || (woken_ && !overrun_)) return;
  woken_ = true;
  wake_();
}

void Stream::Attach(std::function<void()> wake) {
  absl::MutexLock lock(&mu_);
  wake_ = std::move(wake);
}

Stream::Piece Stream::Take() {
  absl::MutexLock lock(&mu_);
  woken_ = false;
  return {std::exchange(waiting_, ""), finished_, overrun_};
}

bool Stream::overrun() {
  absl::MutexLock lock(&mu_);
  return overrun_;
}

void Stream::Detach(bool written) {
  {
    absl::MutexLock lock(&mu_);
    if (std::exchange(detached_, true)) return;
    wake_ = nullptr;
    waiting_.clear();
  }
  if (!written && on_gone_ != nullptr) on_gone_();
}

}  // namespace olmoe::http
