#include "server/util/interrupt.h"

#include "absl/time/clock.h"

namespace olmoe {

absl::Status Interrupt::Check() const {
  return stop.stop_requested() || absl::Now() >= deadline ? CancelledAt(deadline)
                                                          : absl::OkStatus();
}

absl::Status CancelledAt(absl::Time deadline) {
  return absl::Now() >= deadline ? absl::DeadlineExceededError("the deadline has passed")
                                 : absl::CancelledError("cancelled by the client");
}

}  // namespace olmoe
