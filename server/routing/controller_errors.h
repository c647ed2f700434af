// Why a patch is refused, beyond what its plan says.
#ifndef OLMOE_SERVER_ROUTING_CONTROLLER_ERRORS_H_
#define OLMOE_SERVER_ROUTING_CONTROLLER_ERRORS_H_

#include <cstdint>

#include "absl/status/status.h"

namespace olmoe::routing {

// ABORTED, ErrorInfo GENERATION_MISMATCH.
absl::Status GenerationMismatch(uint64_t current, uint64_t expected);
// INVALID_ARGUMENT with a violation of idempotency_key, ErrorInfo IDEMPOTENCY_KEY_REUSED.
absl::Status IdempotencyKeyReused();
// NOT_FOUND, ErrorInfo UNKNOWN_GENERATION.
absl::Status UnknownGeneration(uint64_t generation);
// FAILED_PRECONDITION, ErrorInfo NO_TTL or EXPIRED.
absl::Status NoTimeToLive(uint64_t generation);
absl::Status HasExpired(uint64_t generation);
// The store's own code, ErrorInfo NOT_STORED.
absl::Status NotStored(const absl::Status& cause);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CONTROLLER_ERRORS_H_
