#include "server/engine/queue_rate.h"

#include <algorithm>

namespace olmoe::engine {
namespace {

constexpr size_t kWindow = 32;
constexpr absl::Duration kShortest = absl::Milliseconds(50);
constexpr absl::Duration kLongest = absl::Minutes(1);

}  // namespace

void QueueRate::OnBusy(absl::Time now) {
  if (!departures_.empty()) {
    previous_ = (departures_.back() - since_) / static_cast<int64_t>(departures_.size());
  }
  departures_.clear();
  since_ = now;
}

void QueueRate::OnDeparture(absl::Time now) {
  departures_.push_back(now);
  if (departures_.size() <= kWindow) return;
  since_ = departures_.front();
  departures_.pop_front();
}

absl::Duration QueueRate::TimeToServe(int num_requests, absl::Time now) const {
  return std::clamp(num_requests * TimePerDeparture(now), kShortest, kLongest);
}

absl::Duration QueueRate::TimePerDeparture(absl::Time now) const {
  if (departures_.empty()) return std::max(previous_, now - since_);
  return (now - since_) / static_cast<int64_t>(departures_.size());
}

}  // namespace olmoe::engine
