#include "server/rpc/call_limits.h"

#include <utility>

namespace olmoe::rpc {

CallLimits::CallLimits(Options options)
    : tick_(options.tick),
      memory_(options.max_request_memory,
              [this] {
                if (receipts_.anybody_waits()) receipts_.Pump();
              }),
      receipts_(std::move(options.receipts)),
      answers_(std::move(options.answers)),
      thread_([this] { Loop(); }) {}

CallLimits::~CallLimits() {
  stop_.Notify();
  thread_.join();
}

void CallLimits::AwaitCalls(absl::Time deadline) const { memory_.AwaitNone(deadline); }

void CallLimits::Loop() {
  while (!stop_.WaitForNotificationWithTimeout(tick_)) {
    if (receipts_.anybody_waits()) receipts_.Pump();
    if (!answers_.empty()) answers_.Tick();
  }
}

}  // namespace olmoe::rpc
