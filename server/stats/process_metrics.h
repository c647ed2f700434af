#ifndef OLMOE_SERVER_STATS_PROCESS_METRICS_H_
#define OLMOE_SERVER_STATS_PROCESS_METRICS_H_

#include <vector>

#include "prometheus/metric_family.h"

namespace olmoe::stats {

// Appends what the kernel says of this process, by the names that all client libraries of
// Prometheus share (process_cpu_seconds_total and so on). What /proc does not tell is left out.
void AppendProcessMetrics(std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_PROCESS_METRICS_H_
