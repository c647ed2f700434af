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
  // Called after the generation is compared and before anything is published, also with
  // validate_only; an error refuses the patch. May wait: no other patch goes on meanwhile. Null:
  // nothing is checked.
  std::function<absl::Status(const RoutingPlan& candidate)> check;
  // Set: wait, after publishing, until no request uses an older plan. Running out
  // of time is a warning, not an error: the patch stands.
  std::optional<absl::Duration> wait_for_drain;
  std::string field_prefix = "plan";  // violations are named below it
  // Not empty: the plan stands for one policy, and the violations and warnings of
  // its only arm's policy are named below this instead ("policy" gives
  // "policy.apply.top_k.k"). CHECKs that the plan has one arm.
  std::string policy_prefix;
};

struct PatchResult {
  std::shared_ptr<const RoutingPlan> current;  // after the call
  // The plan before the call; current's own where nothing changed.
  uint64_t previous_generation = 0;
  int64_t in_flight_on_previous = 0;
  absl::Duration swap_duration;  // how long admission was blocked
  // False: validate_only, or the same plan again (equal digest, names and notes).
  bool changed = false;
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
    // May be null: then there are none. Outlives the controller.
    const CalibrationSet* calibrations = nullptr;
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
  // Names of the fields of arm `arm`'s policy.
  std::string PolicyPrefix(const PatchOptions& options, size_t arm) const;
  absl::StatusOr<std::shared_ptr<const RoutingPlan>> Build(PlanSpec spec,
                                                           const PatchOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  // Compares and publishes; `next` is one generation above the current plan.
  absl::StatusOr<PatchResult> Swap(std::shared_ptr<const RoutingPlan> next,
                                   const PatchOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  // Waits as options.wait_for_drain says; without admin_mu_, so that a slow drain
  // holds up no other patch.
  void AwaitDrain(const PatchOptions& options, PatchResult* result)
      ABSL_LOCKS_EXCLUDED(admin_mu_);

  // Constant after construction.
  const Options options_;
  const std::shared_ptr<const RoutingPolicy> native_;
  // Held by a whole patch but for its drain: patches are one after the other,
  // admission goes on.
  absl::Mutex admin_mu_;
  // Thread-safe. Published to only under admin_mu_.
  PlanSlot slot_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CONTROLLER_H_
