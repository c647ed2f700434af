#ifndef OLMOE_SERVER_STATS_EXPERT_METRICS_H_
#define OLMOE_SERVER_STATS_EXPERT_METRICS_H_

#include <cstdint>
#include <vector>

#include "prometheus/metric_family.h"
#include "server/stats/expert_stats.h"

namespace olmoe::stats {

// How much of the routers is exported: for an arm of 16 layers and 64 experts that is 1,392
// series with kExpert and 368 with kLayer, and about as many again where it analyzes.
enum class ExpertMetrics { kOff, kLayer, kExpert };

// Series of the families below for one arm.
struct ExpertSeries {
  int64_t applied = 0;
  int64_t analyzed = 0;  // in addition, where its policy analyzes
};
ExpertSeries CountExpertSeries(int num_layers, int num_experts, ExpertMetrics detail);

// The olmoe_moe_* families: `counts` summed over policies and phases.
void AppendExpertMetrics(const std::vector<ExpertCounts>& counts, ExpertMetrics detail,
                         std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_EXPERT_METRICS_H_
