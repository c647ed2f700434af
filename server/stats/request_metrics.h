#ifndef OLMOE_SERVER_STATS_REQUEST_METRICS_H_
#define OLMOE_SERVER_STATS_REQUEST_METRICS_H_

#include <vector>

#include "prometheus/metric_family.h"
#include "server/stats/request_stats.h"
#include "server/stats/shown_arms.h"

namespace olmoe::stats {

// The families about finished requests and swaps. Requests that were refused before an arm
// was found are counted under the empty arm, which is no arm: it is always there and has no
// more than codes.
void AppendRequestMetrics(const RequestCounts& counts, const ShownArms& shown,
                          std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_REQUEST_METRICS_H_
