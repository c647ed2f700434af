// prometheus-cpp's data types, filled.
#ifndef OLMOE_SERVER_STATS_METRIC_FAMILY_H_
#define OLMOE_SERVER_STATS_METRIC_FAMILY_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "prometheus/metric_family.h"
#include "server/stats/histogram.h"
#include "server/stats/metric_names.h"

namespace olmoe::stats {

using Labels = std::vector<std::pair<const char*, std::string>>;

// Metric families under construction, in a fixed order. Thread-compatible.
class FamilySet {
 public:
  FamilySet(std::initializer_list<const MetricName*> order);

  // To the counter or gauge, or the histograms, of that name. REQUIRES: the metric is one of
  // `order`.
  void Add(const MetricName& metric, Labels labels, double value);
  void Add(const MetricName& metric, Labels labels, const Histogram& histogram);

  // Moves the families to the end of `families`; one without a sample is left out.
  void AppendTo(std::vector<prometheus::MetricFamily>* families);

 private:
  prometheus::MetricFamily& FamilyOf(const MetricName& metric);

  std::vector<const MetricName*> order_;
  std::vector<prometheus::MetricFamily> families_;  // of order_
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_METRIC_FAMILY_H_
