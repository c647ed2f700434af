#ifndef OLMOE_SERVER_RPC_INTERRUPT_H_
#define OLMOE_SERVER_RPC_INTERRUPT_H_

#include <stop_token>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace olmoe::rpc {

// What ends the work for a call early: its cancellation, or its deadline. Copies are of the
// same call. Thread-safe.
struct Interrupt {
  std::stop_token stop;
  absl::Time deadline = absl::InfiniteFuture();

  // CANCELLED, DEADLINE_EXCEEDED where that is why, or OK: go on.
  absl::Status Check() const;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_INTERRUPT_H_
