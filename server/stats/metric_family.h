// prometheus-cpp's data types, filled.
#ifndef OLMOE_SERVER_STATS_METRIC_FAMILY_H_
#define OLMOE_SERVER_STATS_METRIC_FAMILY_H_

#include <string>
#include <utility>
#include <vector>

#include "prometheus/metric_family.h"
#include "server/stats/histogram.h"
#include "server/stats/metric_names.h"

namespace olmoe::stats {

using Labels = std::vector<std::pair<const char*, std::string>>;

// One metric family under construction. Thread-compatible.
class FamilyBuilder {
 public:
  static FamilyBuilder Counter(const MetricName& name);
  static FamilyBuilder Gauge(const MetricName& name);
  static FamilyBuilder Histograms(const MetricName& name);

  // Of a counter or a gauge.
  void Add(Labels labels, double value);
  // Of a histogram.
  void Add(Labels labels, const Histogram& histogram);

  // Moves the family to the end of `families`; one without a sample is left out.
  void AppendTo(std::vector<prometheus::MetricFamily>* families);

 private:
  FamilyBuilder(const MetricName& name, prometheus::MetricType type);
  prometheus::ClientMetric& NewSample(Labels labels);

  prometheus::MetricFamily family_;
};

// A family of one sample without labels.
void AppendGauge(const MetricName& name, double value,
                 std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_METRIC_FAMILY_H_
