#ifndef OLMOE_SERVER_ROUTING_CONTROLLER_H_
#define OLMOE_SERVER_ROUTING_CONTROLLER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/routing/plan.h"
#include "server/routing/plan_slot.h"

namespace olmoe::routing {

struct PatchOptions {
  std::optional<uint64_t> expected_generation;  // compare-and-swap
  bool validate_only = false;
  // Set: wait, after publishing, until no request uses an older plan. Running out
  // of time is a warning, not an error: the patch stands.
  std::optional<absl::Duration> wait_for_drain;
  std::string field_prefix = "plan";  // violations are named below it
};

struct PatchResult {
  std::shared_ptr<const RoutingPlan> current;
  uint64_t previous_generation = 0;
  int64_t in_flight_on_previous = 0;
  absl::Duration swap_duration;  // how long admission was blocked
  bool changed = false;          // false: validate_only, or the same plan again
  std::vector<std::string> warnings;
};

// The life of a patch: build, compare, publish, one at a time. Everything that can
// fail happens before the slot is touched, so a refused patch changes nothing.
// Thread-safe.
class RoutingController {
 public:
  struct Options {
    RouterShape shape;
    int max_arms = 8;
    std::function<absl::Time()> now = absl::Now;
  };
  // Starts unpatched, at generation 1.
  explicit RoutingController(Options options);

  // Errors: those of RoutingPlan::Create; ABORTED with ErrorInfo
  // GENERATION_MISMATCH (metadata "current_generation", "expected_generation").
  absl::StatusOr<PatchResult> Patch(PlanSpec plan, const PatchOptions& options);
  // Back to the model's own routing. Already there: OK, unchanged, with a warning.
  absl::StatusOr<PatchResult> Unpatch(const PatchOptions& options);

  PlanSlot& slot() { return slot_; }
  const RouterShape& shape() const { return options_.shape; }
  // The model's own routing; the same object for the controller's whole life.
  const std::shared_ptr<const RoutingPolicy>& native_policy() const { return native_; }

 private:
  absl::StatusOr<PatchResult> Swap(std::shared_ptr<const RoutingPlan> next,
                                   const PatchOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);

  const Options options_;
  const std::shared_ptr<const RoutingPolicy> native_;
  PlanSlot slot_;
  // Held by a whole patch: patches are one after the other, admission goes on.
  absl::Mutex admin_mu_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CONTROLLER_H_
