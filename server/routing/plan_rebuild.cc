#include "server/routing/plan_rebuild.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/util/status_details.h"

namespace olmoe::routing {
namespace {

absl::Status PlanChanged(const PlanRecord& record, const std::string& why) {
  return WithPrecondition(
      absl::FailedPreconditionError(absl::StrCat("the plan of generation ", record.generation,
                                                 " would not route as it did: ", why)),
      "PLAN_CHANGED", absl::StrCat("plans/", record.generation));
}

}  // namespace

PlanRecord RecordOf(const RoutingPlan& plan, std::string actor) {
  PlanRecord record;
  record.generation = plan.generation();
  record.digest = plan.digest();
  record.spec = plan.spec();
  record.source = plan.source();
  record.actor = std::move(actor);
  record.activate_time = plan.activate_time();
  return record;
}

absl::StatusOr<std::shared_ptr<const RoutingPlan>> Rebuild(const PlanRecord& record,
                                                           const RouterShape& shape,
                                                           const NamedSets& named, int max_arms,
                                                           uint64_t generation, PlanSource source,
                                                           absl::Time activate_time) {
  absl::StatusOr<std::shared_ptr<const RoutingPlan>> plan =
      RoutingPlan::Create(record.spec, shape, named, max_arms, generation, source, activate_time,
                          absl::StrCat("plans/", record.generation));
  if (absl::IsInvalidArgument(plan.status())) {
    return PlanChanged(record, std::string(plan.status().message()));
  }
  if (plan.ok() && (*plan)->digest() != record.digest) {
    return PlanChanged(record, "the model, a calibration or a router is another one now");
  }
  return plan;
}

}  // namespace olmoe::routing
