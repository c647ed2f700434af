#include "server/util/periodic.h"

#include <utility>

namespace olmoe {

Periodic::Periodic(absl::Duration period, std::function<void()> call)
    : period_(period), call_(std::move(call)), thread_([this] { Run(); }) {}

Periodic::~Periodic() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  thread_.join();
}

void Periodic::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (mu_.AwaitWithTimeout(absl::Condition(&stop_), period_)) return;
    }
    call_();
  }
}

}  // namespace olmoe
