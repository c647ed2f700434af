#ifndef OLMOE_SERVER_API_EXPERT_STATS_H_
#define OLMOE_SERVER_API_EXPERT_STATS_H_

#include <cstdint>
#include <set>
#include <string>

#include "olmoe/v1/admin.pb.h"
#include "server/api/request_errors.h"
#include "server/experiment/serving.h"
#include "server/stats/stats_cursors.h"

namespace olmoe::api {

// What of a reading is wanted; an empty set means all.
struct StatsFilter {
  std::set<std::string> arm_ids;
  std::set<uint32_t> layers;
  std::set<stats::DecisionKind> kinds;
};

// Violations are named below `prefix` ("", "filter."). An arm need not exist: it may have
// been patched away.
StatsFilter ParseStatsFilter(const v1::GetExpertStatsRequest& request, const std::string& prefix,
                             const experiment::Serving& serving, RequestErrors* errors);

v1::GetExpertStatsResponse ToProto(const stats::StatsReading& reading, const StatsFilter& filter);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_EXPERT_STATS_H_
