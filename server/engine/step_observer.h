// What statistics learn of a step.
#ifndef OLMOE_SERVER_ENGINE_STEP_OBSERVER_H_
#define OLMOE_SERVER_ENGINE_STEP_OBSERVER_H_

#include <functional>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/routing/plan.h"
#include "server/routing/record.h"

namespace olmoe::engine {

enum class Phase {
  kPrefill,  // rows of a prompt
  kDecode,   // the single row of a generated token
  kScore,    // rows of a score window
};

// One row range of a finished step: rows [first_row, first_row + num_rows) of the record belong to
// this arm and phase.
struct StepRows {
  const routing::Assignment* assignment;  // alive during the call
  Phase phase;
  int first_row;
  int num_rows;
  // kDecode: since the token before, where this row gave one. A pause of the reader is part of it.
  std::optional<absl::Duration> token_interval = std::nullopt;
};

// Called on the engine thread after every step that did not fail as a whole; must not block. `rows`
// covers the record in order.
using StepObserver =
    std::function<void(const std::vector<StepRows>& rows, const routing::RoutingRecord& record,
                       absl::Duration step_time)>;

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_STEP_OBSERVER_H_
