#include "server/stats/expert_metrics.h"

#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

std::string TwoDigits(size_t index) { return absl::StrFormat("%02d", index); }

const char* DecisionName(DecisionKind kind) {
  return kind == DecisionKind::kApplied ? "applied" : "analyzed";
}

Histogram ExpertsPerToken(const LayerCounts& counts) {
  Histogram histogram(kExpertsPerTokenBounds);
  for (size_t k = 0; k < counts.experts_per_token.size(); ++k) {
    if (counts.experts_per_token[k] > 0) {
      histogram.Add(static_cast<double>(k), counts.experts_per_token[k]);
    }
  }
  return histogram;
}

void AddLayer(const std::string& arm, DecisionKind kind, size_t layer, const LayerCounts& counts,
              FamilySet* families) {
  const Labels labels = {
      {"arm", arm}, {"layer", TwoDigits(layer)}, {"decision", DecisionName(kind)}};
  const auto bound = [&](const char* name) {
    Labels with_bound = labels;
    with_bound.emplace_back("bound", name);
    return with_bound;
  };
  families->Add(kRoutedTokens, labels, static_cast<double>(counts.tokens));
  families->Add(kExpertsPerToken, labels, ExpertsPerToken(counts));
  families->Add(kClampedTokens, bound("min"), static_cast<double>(counts.min_k_hits));
  families->Add(kClampedTokens, bound("max"), static_cast<double>(counts.max_k_hits));
  families->Add(kClampedTokens, bound("force"), static_cast<double>(counts.force_hits));
  families->Add(kSelectedMass, labels, counts.selected_mass);
  families->Add(kRouterEntropy, labels, counts.router_entropy);
  if (kind == DecisionKind::kAnalyzed) {
    const Labels of_both = {{"arm", arm}, {"layer", TwoDigits(layer)}};
    families->Add(kCommonExperts, of_both, static_cast<double>(counts.common_experts));
    families->Add(kUnionExperts, of_both, static_cast<double>(counts.union_experts));
  }
}

void AddExperts(const std::string& arm, DecisionKind kind, size_t layer, const LayerCounts& counts,
                FamilySet* families) {
  for (size_t expert = 0; expert < counts.expert_tokens.size(); ++expert) {
    families->Add(kExpertTokens,
                  {{"arm", arm},
                   {"layer", TwoDigits(layer)},
                   {"expert", TwoDigits(expert)},
                   {"decision", DecisionName(kind)}},
                  static_cast<double>(counts.expert_tokens[expert]));
  }
}

using ArmTotals = std::map<std::pair<std::string, DecisionKind>, std::vector<LayerCounts>>;

ArmTotals TotalsByArm(const std::vector<ExpertCounts>& counts) {
  ArmTotals totals;
  for (const ExpertCounts& part : counts) {
    std::vector<LayerCounts>& layers = totals[{part.arm_id, part.kind}];
    layers.resize(part.layers.size());
    for (size_t layer = 0; layer < layers.size(); ++layer) layers[layer] += part.layers[layer];
  }
  return totals;
}

// Of one scrape in the text format: a histogram is its buckets, its sum and its count.
int64_t CountSeries(const std::vector<prometheus::MetricFamily>& families) {
  int64_t series = 0;
  for (const prometheus::MetricFamily& family : families) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      const bool is_histogram = family.type == prometheus::MetricType::Histogram;
      series += is_histogram ? std::ssize(metric.histogram.bucket) + 2 : 1;
    }
  }
  return series;
}

}  // namespace

ExpertSeries CountExpertSeries(int num_layers, int num_experts, ExpertMetrics detail) {
  // Counted in what would be exported, so that it cannot part from it.
  const std::vector<LayerCounts> layers(static_cast<size_t>(num_layers), LayerCounts(num_experts));
  const auto count = [&](DecisionKind kind) {
    std::vector<prometheus::MetricFamily> families;
    AppendExpertMetrics({{"arm", "", "", kind, engine::Phase::kPrefill, layers}}, detail,
                        &families);
    return CountSeries(families);
  };
  return {count(DecisionKind::kApplied), count(DecisionKind::kAnalyzed)};
}

void AppendExpertMetrics(const std::vector<ExpertCounts>& counts, ExpertMetrics detail,
                         std::vector<prometheus::MetricFamily>* families) {
  if (detail == ExpertMetrics::kOff) return;
  FamilySet out = {&kExpertTokens, &kRoutedTokens,  &kExpertsPerToken, &kClampedTokens,
                   &kSelectedMass, &kRouterEntropy, &kCommonExperts,   &kUnionExperts};
  for (const auto& [key, layers] : TotalsByArm(counts)) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      AddLayer(key.first, key.second, layer, layers[layer], &out);
      if (detail == ExpertMetrics::kExpert) {
        AddExperts(key.first, key.second, layer, layers[layer], &out);
      }
    }
  }
  out.AppendTo(families);
}

}  // namespace olmoe::stats
