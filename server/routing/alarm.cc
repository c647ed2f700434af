#include "server/routing/alarm.h"

#include <utility>

namespace olmoe::routing {

Alarm::Alarm(std::function<void()> ring) : ring_(std::move(ring)), thread_([this] { Loop(); }) {}

Alarm::~Alarm() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

void Alarm::Set(absl::Time time) {
  absl::MutexLock lock(&mu_);
  time_ = time;
}

void Alarm::Loop() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      const absl::Time time = time_;
      const auto changed = [this, time]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
        return stopping_ || time_ != time;
      };
      if (mu_.AwaitWithDeadline(absl::Condition(&changed), time)) {
        if (stopping_) return;
        continue;
      }
      time_ = absl::InfiniteFuture();
    }
    ring_();
  }
}

}  // namespace olmoe::routing
