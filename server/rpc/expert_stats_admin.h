// GetExpertStats, and what it shares with WatchExpertStats.
#ifndef OLMOE_SERVER_RPC_EXPERT_STATS_ADMIN_H_
#define OLMOE_SERVER_RPC_EXPERT_STATS_ADMIN_H_

#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/service_context.h"
#include "server/stats/stats_cursors.h"

namespace olmoe::rpc {

// What of a reading is wanted; an empty set means all.
struct StatsFilter {
  std::set<std::string> arm_ids;
  std::set<uint32_t> layers;
  std::set<stats::DecisionKind> kinds;
};

// Violations are named below `prefix` ("", "filter."). An arm need not exist: it may have
// been patched away.
StatsFilter ParseStatsFilter(const v1::GetExpertStatsRequest& request, const std::string& prefix,
                             const ServiceContext& context, RequestErrors* errors);

v1::GetExpertStatsResponse ToProto(const stats::StatsReading& reading, const StatsFilter& filter);

// Errors: INVALID_ARGUMENT with every violation, FAILED_PRECONDITION (CURSOR_EXPIRED).
absl::StatusOr<v1::GetExpertStatsResponse> GetExpertStats(
    const v1::GetExpertStatsRequest& request, const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_EXPERT_STATS_ADMIN_H_
