#ifndef OLMOE_TESTS_ENGINE_OUTCOMES_H_
#define OLMOE_TESTS_ENGINE_OUTCOMES_H_

#include <string>
#include <string_view>
#include <utility>

#include "server/engine/request_outcome.h"

namespace olmoe::engine {

// `completion`: null: refused.
inline RequestOutcome OutcomeOf(std::string arm_id, std::string_view method,
                                const Completion* completion,
                                absl::StatusCode code = absl::StatusCode::kOk) {
  RequestOutcome outcome;
  outcome.method = method;
  outcome.arm_id = std::move(arm_id);
  outcome.status = absl::Status(code, "");
  outcome.completion = completion;
  return outcome;
}

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_OUTCOMES_H_
