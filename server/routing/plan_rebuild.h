// Plans <-> what is kept of them.
#ifndef OLMOE_SERVER_ROUTING_PLAN_REBUILD_H_
#define OLMOE_SERVER_ROUTING_PLAN_REBUILD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/routing/plan.h"
#include "server/routing/plan_store.h"

namespace olmoe::routing {

PlanRecord RecordOf(const RoutingPlan& plan, std::string actor);

// The plan of a record again, under `generation`. FAILED_PRECONDITION, with
// PreconditionFailure, where it would not route as it did: a calibration or router is
// gone or another one (CALIBRATION_MISSING, ROUTER_MISSING, PLAN_CHANGED), or it does not fit this
// model.
absl::StatusOr<std::shared_ptr<const RoutingPlan>> Rebuild(const PlanRecord& record,
                                                           const RouterShape& shape,
                                                           const NamedSets& named, int max_arms,
                                                           uint64_t generation, PlanSource source,
                                                           absl::Time activate_time);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_PLAN_REBUILD_H_
