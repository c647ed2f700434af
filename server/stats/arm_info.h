#ifndef OLMOE_SERVER_STATS_ARM_INFO_H_
#define OLMOE_SERVER_STATS_ARM_INFO_H_

#include "server/routing/plan.h"
#include "server/stats/metric_family.h"

namespace olmoe::stats {

// What olmoe_routing_arm_info says about an arm: arm, policy, kind ("native", "overrides",
// "top_k", "top_p", "min_p", "bh", "hc"), digest, and of the applied rule of all layers k,
// alpha, min_k and max_k, each empty where the rule has none.
Labels ArmInfo(const routing::Arm& arm);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_ARM_INFO_H_
