#ifndef OLMOE_SERVER_STATS_STEP_METRICS_H_
#define OLMOE_SERVER_STATS_STEP_METRICS_H_

#include <vector>

#include "prometheus/metric_family.h"
#include "server/stats/shown_arms.h"
#include "server/stats/step_stats.h"

namespace olmoe::stats {

// The families about the engine's steps.
void AppendStepMetrics(const StepCounts& counts, const ShownArms& shown,
                       std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_STEP_METRICS_H_
