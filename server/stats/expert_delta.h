#ifndef OLMOE_SERVER_STATS_EXPERT_DELTA_H_
#define OLMOE_SERVER_STATS_EXPERT_DELTA_H_

#include <vector>

#include "server/stats/expert_stats.h"

namespace olmoe::stats {

// What was counted between two snapshots of one ExpertStats; entries without a token are
// left out. Exact also where a policy's counts have meanwhile been summed into its arm's
// earlier ones. Of an arm that was given up in between, only what it counted after it came
// back. Pure.
std::vector<ExpertCounts> CountsSince(const std::vector<ExpertCounts>& now,
                                      const std::vector<ExpertCounts>& before);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_EXPERT_DELTA_H_
