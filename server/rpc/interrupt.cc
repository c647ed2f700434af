#include "server/rpc/interrupt.h"

#include "absl/time/clock.h"

namespace olmoe::rpc {

absl::Status Interrupt::Check() const {
  if (absl::Now() >= deadline) return absl::DeadlineExceededError("the deadline has passed");
  if (stop.stop_requested()) return absl::CancelledError("cancelled by the client");
  return absl::OkStatus();
}

}  // namespace olmoe::rpc
