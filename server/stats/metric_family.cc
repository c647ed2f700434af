#include "server/stats/metric_family.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "glog/logging.h"
#include "prometheus/client_metric.h"

namespace olmoe::stats {
namespace {

prometheus::ClientMetric& NewSample(Labels labels, prometheus::MetricFamily* family) {
  prometheus::ClientMetric& sample = family->metric.emplace_back();
  for (auto& [name, value] : labels) sample.label.push_back({name, std::move(value)});
  return sample;
}

}  // namespace

FamilySet::FamilySet(std::initializer_list<const MetricName*> order) : order_(order) {
  for (const MetricName* metric : order_) {
    prometheus::MetricFamily& family = families_.emplace_back();
    family.name = metric->name;
    family.help = metric->help;
    family.type = metric->type;
  }
}

prometheus::MetricFamily& FamilySet::FamilyOf(const MetricName& metric) {
  const auto found = std::find(order_.begin(), order_.end(), &metric);
  CHECK(found != order_.end()) << metric.name;
  return families_[static_cast<size_t>(found - order_.begin())];
}

void FamilySet::Add(const MetricName& metric, Labels labels, double value) {
  prometheus::ClientMetric& sample = NewSample(std::move(labels), &FamilyOf(metric));
  if (metric.type == prometheus::MetricType::Gauge) {
    sample.gauge.value = value;
  } else {
    sample.counter.value = value;
  }
}

void FamilySet::Add(const MetricName& metric, Labels labels, const Histogram& histogram) {
  prometheus::ClientMetric::Histogram& out =
      NewSample(std::move(labels), &FamilyOf(metric)).histogram;
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

void FamilySet::AppendTo(std::vector<prometheus::MetricFamily>* families) {
  for (prometheus::MetricFamily& family : families_) {
    if (!family.metric.empty()) families->push_back(std::move(family));
  }
}

}  // namespace olmoe::stats
