#ifndef OLMOE_SERVER_ROUTING_CALIBRATION_USE_H_
#define OLMOE_SERVER_ROUTING_CALIBRATION_USE_H_

#include <functional>
#include <set>
#include <string>

#include "server/routing/plan.h"

namespace olmoe::routing {

using Names = std::set<std::string, std::less<>>;

// The calibrations that the rules of a plan need: applied and analyzed, of all arms and
// layers. Pure.
Names CalibrationsOf(const PlanSpec& plan);

// The routers of its policies. Pure.
Names RoutersOf(const PlanSpec& plan);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CALIBRATION_USE_H_
