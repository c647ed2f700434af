#include "server/limits/call_limits.h"

#include <algorithm>
#include <utility>

namespace olmoe::limits {
namespace {

// Half of the memory is for what is not a message on its way.
Receipts::Options ReceiptsWithin(int64_t max_bytes, Receipts::Options options) {
  options.max_turns =
      static_cast<size_t>(std::max<int64_t>(1, max_bytes / 2 / options.max_message_bytes));
  return options;
}

}  // namespace

CallLimits::CallLimits(Options options)
    : tick_(options.tick),
      memory_(options.max_request_memory, [this] { OnFreed(); }),
      receipts_(ReceiptsWithin(options.max_request_memory, std::move(options.receipts))),
      answers_(std::move(options.answers)),
      thread_([this] { Loop(); }) {}

CallLimits::~CallLimits() {
  stop_.Notify();
  thread_.join();
}

void CallLimits::SetFreedListener(std::function<void()> listener) {
  absl::MutexLock lock(&mu_);
  freed_listener_ = std::move(listener);
}

void CallLimits::OnFreed() {
  if (receipts_.anybody_waits()) receipts_.Pump();
  std::function<void()> listener;
  {
    absl::MutexLock lock(&mu_);
    listener = freed_listener_;
  }
  if (listener != nullptr) listener();
}

void CallLimits::AwaitCalls(absl::Time deadline) const { memory_.AwaitNone(deadline); }

void CallLimits::Loop() {
  while (!stop_.WaitForNotificationWithTimeout(tick_)) {
    if (receipts_.anybody_waits()) receipts_.Pump();
    if (!answers_.empty()) answers_.Tick();
  }
}

}  // namespace olmoe::limits
