#include "client/bench/clock.h"

#include <chrono>

namespace olmoe::client::bench {

absl::Time SteadyClock::Now() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

void SteadyClock::Wait(absl::CondVar* changed, absl::Mutex* mu, absl::Time until) {
  changed->WaitWithTimeout(mu, until - Now());
}

}  // namespace olmoe::client::bench
