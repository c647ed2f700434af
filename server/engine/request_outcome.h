#ifndef OLMOE_SERVER_ENGINE_REQUEST_OUTCOME_H_
#define OLMOE_SERVER_ENGINE_REQUEST_OUTCOME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/engine/token_sink.h"
#include "server/routing/plan.h"

namespace olmoe::engine {

// Protocols that requests come by, as statistics and logs name them.
inline constexpr std::string_view kGrpc = "grpc", kHttp = "http";

// How one request ended, for statistics and logs.
struct RequestOutcome {
  // "Generate", "GenerateStream", "Score", "ScoreStream", "BuildCalibration"; by HTTP "Completions"
  std::string_view method;
  std::string_view protocol = kGrpc;  // it came by
  std::string request_id;
  std::string arm_id;       // empty: refused before an arm was found
  std::string policy_id;    // of that arm
  uint64_t generation = 0;  // of the plan
  std::optional<routing::AssignmentReason> assignment;
  absl::Status status;
  // What the engine says about it; null where it was refused before.
  const Completion* completion = nullptr;
  double scored_logprob_sum = 0;  // nats
  uint64_t scored_tokens = 0;     // that it is the sum of

  // The status's code as statistics and logs name it: "OK", "INVALID_ARGUMENT".
  std::string code() const { return absl::StatusCodeToString(status.code()); }
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_REQUEST_OUTCOME_H_
