#ifndef OLMOE_SERVER_STATS_DERIVED_H_
#define OLMOE_SERVER_STATS_DERIVED_H_

#include <cstdint>

#include "server/stats/expert_stats.h"

namespace olmoe::stats {

// What follows from the counts of one layer, so that no client needs statistics code.
struct DerivedStats {
  // Over tokens, from the whole distribution of k; the deviation is that of the
  // population.
  double mean_experts_per_token = 0;
  double stddev_experts_per_token = 0;
  // How evenly the selections fall on all E experts. 1 = evenly.
  double load_max_over_mean = 0;  // [1, E]
  double load_jain = 0;           // (sum n)^2 / (E sum n^2), [1/E, 1]
  double load_entropy_ratio = 0;  // entropy of the shares / ln E, [0, 1]; 1 where E = 1
  uint32_t idle_experts = 0;      // without a token
};

// All zero but for idle_experts where nothing was counted. Pure.
DerivedStats Derive(const LayerCounts& counts);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_DERIVED_H_
