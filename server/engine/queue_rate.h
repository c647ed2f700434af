#ifndef OLMOE_SERVER_ENGINE_QUEUE_RATE_H_
#define OLMOE_SERVER_ENGINE_QUEUE_RATE_H_

#include <deque>

#include "absl/time/time.h"

namespace olmoe::engine {

// How long a full queue takes to be served: what a refused client is told to wait. The estimate is
// (requests that wait) * (time per departure), measured over the last 32 departures of the present
// busy period up to now, so that a stall makes the answer longer at once. A client that comes back
// then finds that everything ahead of it today has begun. Before anything has left the queue in
// this busy period the time since the period began counts as one departure, and the rate of the
// period before is a lower bound. Thread-compatible.
class QueueRate {
 public:
  // The queue was empty and is not any more.
  void OnBusy(absl::Time now);
  // A request left the queue, for its first step or because it ended.
  void OnDeparture(absl::Time now);

  // Between 50 ms and one minute: shorter is not worth a round trip, longer not worth believing.
  absl::Duration TimeToServe(int num_requests, absl::Time now) const;

 private:
  absl::Duration TimePerDeparture(absl::Time now) const;

  absl::Time since_ = absl::InfinitePast();  // just before departures_[0]
  std::deque<absl::Time> departures_;        // at most kWindow, oldest first
  absl::Duration previous_ = absl::ZeroDuration();  // time per departure before since_
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_QUEUE_RATE_H_
