#ifndef OLMOE_SERVER_API_EXPERT_STATS_H_
#define OLMOE_SERVER_API_EXPERT_STATS_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "olmoe/v1/admin.pb.h"
#include "server/api/request_errors.h"
#include "server/experiment/serving.h"
#include "server/routing/plan.h"
#include "server/stats/stats_cursors.h"

namespace olmoe::api {

// What of a reading is wanted; an empty set means all.
struct StatsFilter {
  std::set<std::string> arm_ids;
  std::set<uint32_t> layers;
  std::set<stats::DecisionKind> kinds;
  bool current_plan = false;
};

// Violations are named below `prefix` ("", "filter."). `counted`: the arms of which something was
// counted, which may have been patched away.
StatsFilter ParseStatsFilter(const v1::GetExpertStatsRequest& request, const std::string& prefix,
                             const experiment::Serving& serving,
                             const std::vector<std::string>& counted, RequestErrors* errors);

// `plan`: the current one.
v1::GetExpertStatsResponse ToProto(const stats::StatsReading& reading, const StatsFilter& filter,
                                   const routing::RoutingPlan& plan);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_EXPERT_STATS_H_
