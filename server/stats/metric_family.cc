#include "server/stats/metric_family.h"

#include <cstdint>
#include <limits>

#include "prometheus/client_metric.h"
#include "prometheus/metric_type.h"

namespace olmoe::stats {

FamilyBuilder::FamilyBuilder(const MetricName& name, prometheus::MetricType type) {
  family_.name = name.name;
  family_.help = name.help;
  family_.type = type;
}

FamilyBuilder FamilyBuilder::Counter(const MetricName& name) {
  return FamilyBuilder(name, prometheus::MetricType::Counter);
}
FamilyBuilder FamilyBuilder::Gauge(const MetricName& name) {
  return FamilyBuilder(name, prometheus::MetricType::Gauge);
}
FamilyBuilder FamilyBuilder::Histograms(const MetricName& name) {
  return FamilyBuilder(name, prometheus::MetricType::Histogram);
}

prometheus::ClientMetric& FamilyBuilder::NewSample(Labels labels) {
  prometheus::ClientMetric& sample = family_.metric.emplace_back();
  for (auto& [name, value] : labels) sample.label.push_back({name, std::move(value)});
  return sample;
}

void FamilyBuilder::Add(Labels labels, double value) {
  prometheus::ClientMetric& sample = NewSample(std::move(labels));
  if (family_.type == prometheus::MetricType::Gauge) {
    sample.gauge.value = value;
  } else {
    sample.counter.value = value;
  }
}

void FamilyBuilder::Add(Labels labels, const Histogram& histogram) {
  prometheus::ClientMetric::Histogram& out = NewSample(std::move(labels)).histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < histogram.counts().size(); ++i) {
    cumulative += histogram.counts()[i];
    const double bound = i < histogram.bounds().size() ? histogram.bounds()[i]
                                                       : std::numeric_limits<double>::infinity();
    out.bucket.push_back({cumulative, bound});
  }
  out.sample_count = cumulative;
  out.sample_sum = histogram.sum();
}

void FamilyBuilder::AppendTo(std::vector<prometheus::MetricFamily>* families) {
  if (!family_.metric.empty()) families->push_back(std::move(family_));
}

void AppendGauge(const MetricName& name, double value,
                 std::vector<prometheus::MetricFamily>* families) {
  FamilyBuilder family = FamilyBuilder::Gauge(name);
  family.Add({}, value);
  family.AppendTo(families);
}

}  // namespace olmoe::stats
