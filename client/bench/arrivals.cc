#include "client/bench/arrivals.h"

#include <cmath>

namespace olmoe::client::bench {

absl::Duration Arrivals::Next() {
  if (options_.constant) {
    // A product and not a sum, which would drift.
    return absl::Seconds(static_cast<double>(count_++) / options_.per_second);
  }
  // Intervals are exponential; 1 - u is never 0.
  seconds_ += -std::log(1 - random_.Uniform()) / options_.per_second;
  return absl::Seconds(seconds_);
}

}  // namespace olmoe::client::bench
