#ifndef OLMOE_SERVER_STATS_ARM_INFO_H_
#define OLMOE_SERVER_STATS_ARM_INFO_H_

#include <string_view>

#include "server/routing/plan.h"
#include "server/stats/metric_family.h"

namespace olmoe::stats {

// The rule that runs, by its name in the proto ("top_k"); "native", or "overrides" where only
// some layers, or tokens beyond the prompt, have one.
std::string_view PolicyKind(const routing::PolicySpec& spec);

// What olmoe_routing_arm_info says about an arm: arm, policy, kind, digest, and of the applied rule of all layers k,
// alpha, min_k and max_k, each empty where the rule has none.
Labels ArmInfo(const routing::Arm& arm);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_ARM_INFO_H_
