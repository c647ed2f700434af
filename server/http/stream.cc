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

size_t Stream::PushSome(std::string_view data) {
  absl::MutexLock lock(&mu_);
  if (finished_ || overrun_ || detached_) return 0;
  const std::string_view pushed = data.substr(0, kMaxWaitingBytes - waiting_.size());
  waiting_.append(pushed);
  if (!pushed.empty()) Wake();
  return pushed.size();
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
  Piece piece;
  {
    absl::MutexLock lock(&mu_);
    woken_ = false;
    piece = {std::exchange(waiting_, ""), finished_, overrun_};
  }
  if (!piece.data.empty() && on_taken_ != nullptr) on_taken_();
  return piece;
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
