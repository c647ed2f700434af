#include "server/routing/controller.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "server/routing/field_checks.h"
#include "server/routing/policy_warnings.h"
#include "server/util/status_details.h"

namespace olmoe::routing {
namespace {

absl::Status GenerationMismatch(uint64_t current, uint64_t expected) {
  return WithErrorInfo(
      absl::AbortedError(absl::StrCat("expected generation ", expected, ", current is ", current)),
      "GENERATION_MISMATCH",
      {{"current_generation", absl::StrCat(current)},
       {"expected_generation", absl::StrCat(expected)}});
}

}  // namespace

RoutingController::RoutingController(Options options)
    : options_(std::move(options)),
      native_(RoutingPolicy::Native(options_.shape)),
      slot_(RoutingPlan::Native(options_.shape, /*generation=*/1, PlanSource::kStartup,
                                options_.now())) {}

absl::StatusOr<PatchResult> RoutingController::Patch(PlanSpec plan, const PatchOptions& options) {
  CHECK(options.policy_prefix.empty() || plan.arms.size() == 1);
  absl::StatusOr<PatchResult> result;
  {
    absl::MutexLock lock(&admin_mu_);
    absl::StatusOr<std::shared_ptr<const RoutingPlan>> next = Build(std::move(plan), options);
    if (!next.ok()) return next.status();
    const std::vector<ArmSpec>& arms = (*next)->spec().arms;
    std::vector<std::string> warnings;
    for (size_t arm = 0; arm < arms.size(); ++arm) {
      const std::vector<std::string> added =
          PolicyWarnings(arms[arm].policy, options_.shape, PolicyPrefix(options, arm));
      warnings.insert(warnings.end(), added.begin(), added.end());
    }
    result = Swap(*std::move(next), options);
    if (!result.ok()) return result;
    result->warnings = std::move(warnings);
  }
  AwaitDrain(options, &*result);
  return result;
}

absl::StatusOr<PatchResult> RoutingController::Unpatch(const PatchOptions& options) {
  absl::StatusOr<PatchResult> result;
  {
    absl::MutexLock lock(&admin_mu_);
    result = Swap(RoutingPlan::Native(options_.shape, slot_.Current()->generation() + 1,
                                      PlanSource::kUnpatch, options_.now()),
                  options);
    if (!result.ok()) return result;
    if (!result->changed && !options.validate_only) {
      result->warnings.push_back("not patched: the model's own routing was current already");
    }
  }
  AwaitDrain(options, &*result);
  return result;
}

std::string RoutingController::PolicyPrefix(const PatchOptions& options, size_t arm) const {
  if (!options.policy_prefix.empty()) return options.policy_prefix;
  return FieldPath(FieldPath(options.field_prefix, "arms", arm), "policy");
}

absl::StatusOr<std::shared_ptr<const RoutingPlan>> RoutingController::Build(
    PlanSpec spec, const PatchOptions& options) {
  if (!options.policy_prefix.empty()) {
    // First under its own name; the arm around it is the caller's and in order.
    const absl::Status status = RoutingPolicy::Create(spec.arms[0].policy, options_.shape,
                                                      options_.calibrations, options.policy_prefix)
                                    .status();
    if (!status.ok()) return status;
  }
  return RoutingPlan::Create(std::move(spec), options_.shape, options_.calibrations,
                             options_.max_arms, slot_.Current()->generation() + 1,
                             PlanSource::kPatch, options_.now(), options.field_prefix);
}

absl::StatusOr<PatchResult> RoutingController::Swap(std::shared_ptr<const RoutingPlan> next,
                                                    const PatchOptions& options) {
  PatchResult result;
  result.current = slot_.Current();
  result.previous_generation = result.current->generation();
  if (options.expected_generation.has_value() &&
      *options.expected_generation != result.previous_generation) {
    return GenerationMismatch(result.previous_generation, *options.expected_generation);
  }
  if (options.check) {
    if (absl::Status status = options.check(*next); !status.ok()) return status;
  }
  if (options.validate_only || next->SameAs(*result.current)) return result;

  result.current = next;
  const PlanSlot::Swap swap = slot_.Publish(std::move(next));
  result.in_flight_on_previous = swap.in_flight_on_previous;
  result.swap_duration = swap.admission_blocked;
  result.changed = true;
  return result;
}

void RoutingController::AwaitDrain(const PatchOptions& options, PatchResult* result) {
  if (!options.wait_for_drain.has_value() || options.validate_only) return;
  const uint64_t generation = result->current->generation();
  if (slot_.AwaitDrainBefore(generation, absl::Now() + *options.wait_for_drain)) return;
  int64_t in_flight = 0;
  for (const DrainingPlan& draining : slot_.Draining()) {
    if (draining.plan->generation() < generation) in_flight += draining.in_flight;
  }
  result->warnings.push_back(absl::StrCat("wait_for_drain ran out: ", in_flight,
                                          " requests still use plans older than generation ",
                                          generation));
}

}  // namespace olmoe::routing
