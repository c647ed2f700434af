#ifndef OLMOE_SERVER_UTIL_INTERRUPT_H_
#define OLMOE_SERVER_UTIL_INTERRUPT_H_

#include <stop_token>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace olmoe {

// What ends the work for a call early: its cancellation, or its deadline. Copies are of the
// same call. Thread-safe.
struct Interrupt {
  std::stop_token stop;
  absl::Time deadline = absl::InfiniteFuture();

  // CANCELLED, DEADLINE_EXCEEDED where that is why, or OK: go on.
  absl::Status Check() const;
};

// Why a request that is cancelled is: DEADLINE_EXCEEDED after its deadline, else CANCELLED.
absl::Status CancelledAt(absl::Time deadline);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_INTERRUPT_H_
