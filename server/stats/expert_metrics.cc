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

// The families, filled layer by layer.
struct Families {
  FamilyBuilder expert_tokens = FamilyBuilder::Counter(kExpertTokens);
  FamilyBuilder routed_tokens = FamilyBuilder::Counter(kRoutedTokens);
  FamilyBuilder experts_per_token = FamilyBuilder::Histograms(kExpertsPerToken);
  FamilyBuilder clamped = FamilyBuilder::Counter(kClampedTokens);
  FamilyBuilder mass = FamilyBuilder::Counter(kSelectedMass);
  FamilyBuilder entropy = FamilyBuilder::Counter(kRouterEntropy);
  FamilyBuilder common = FamilyBuilder::Counter(kCommonExperts);
  FamilyBuilder united = FamilyBuilder::Counter(kUnionExperts);

  void AddLayer(const std::string& arm, DecisionKind kind, size_t layer,
                const LayerCounts& counts);
  void AddExperts(const std::string& arm, DecisionKind kind, size_t layer,
                  const LayerCounts& counts);
};

void Families::AddLayer(const std::string& arm, DecisionKind kind, size_t layer,
                        const LayerCounts& counts) {
  const Labels labels = {
      {"arm", arm}, {"layer", TwoDigits(layer)}, {"decision", DecisionName(kind)}};
  const auto bound = [&](const char* name) {
    Labels with_bound = labels;
    with_bound.emplace_back("bound", name);
    return with_bound;
  };
  routed_tokens.Add(labels, static_cast<double>(counts.tokens));
  experts_per_token.Add(labels, ExpertsPerToken(counts));
  clamped.Add(bound("min"), static_cast<double>(counts.min_k_hits));
  clamped.Add(bound("max"), static_cast<double>(counts.max_k_hits));
  mass.Add(labels, counts.selected_mass);
  entropy.Add(labels, counts.router_entropy);
  if (kind == DecisionKind::kAnalyzed) {
    const Labels of_both = {{"arm", arm}, {"layer", TwoDigits(layer)}};
    common.Add(of_both, static_cast<double>(counts.common_experts));
    united.Add(of_both, static_cast<double>(counts.union_experts));
  }
}

void Families::AddExperts(const std::string& arm, DecisionKind kind, size_t layer,
                          const LayerCounts& counts) {
  for (size_t expert = 0; expert < counts.expert_tokens.size(); ++expert) {
    expert_tokens.Add({{"arm", arm},
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
  Families out;
  for (const auto& [key, layers] : TotalsByArm(counts)) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      out.AddLayer(key.first, key.second, layer, layers[layer]);
      if (detail == ExpertMetrics::kExpert) {
        out.AddExperts(key.first, key.second, layer, layers[layer]);
      }
    }
  }
  for (FamilyBuilder* family :
       {&out.expert_tokens, &out.routed_tokens, &out.experts_per_token, &out.clamped, &out.mass,
        &out.entropy, &out.common, &out.united}) {
    family->AppendTo(families);
  }
}

}  // namespace olmoe::stats
