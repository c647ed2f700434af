#include "server/routing/controller_errors.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/util/status_details.h"

namespace olmoe::routing {

absl::Status GenerationMismatch(uint64_t current, uint64_t expected) {
  return WithErrorInfo(
      absl::AbortedError(absl::StrCat("expected generation ", expected, ", current is ", current)),
      "GENERATION_MISMATCH",
      {{"current_generation", absl::StrCat(current)},
       {"expected_generation", absl::StrCat(expected)}});
}

absl::Status IdempotencyKeyReused() {
  return WithErrorInfo(
      InvalidFields({{"idempotency_key", "was used before, by a request with another content"}}),
      "IDEMPOTENCY_KEY_REUSED");
}

absl::Status UnknownGeneration(uint64_t generation) {
  return WithErrorInfo(
      absl::NotFoundError(absl::StrCat("no plan of generation ", generation, " is kept")),
      "UNKNOWN_GENERATION", {{"generation", absl::StrCat(generation)}});
}

absl::Status NoTimeToLive(uint64_t generation) {
  return WithErrorInfo(
      absl::FailedPreconditionError(absl::StrCat("the plan of generation ", generation,
                                                 " has no time to live: it stays until replaced")),
      "NO_TTL");
}

absl::Status HasExpired(uint64_t generation) {
  return WithErrorInfo(absl::FailedPreconditionError(
                           absl::StrCat("the plan of generation ", generation, " has expired")),
                       "EXPIRED");
}

absl::Status NotStored(const absl::Status& cause) {
  return WithErrorInfo(
      absl::Status(cause.code(), absl::StrCat("could not be stored, so nothing has changed: ",
                                              std::string(cause.message()))),
      "NOT_STORED");
}

}  // namespace olmoe::routing
