#include "client/route/routed_row.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace olmoe::client::route {
namespace {

using nlohmann::ordered_json;

ordered_json DecisionJson(const routing::Decision& decision, std::span<const uint8_t> experts,
                          int k_raw) {
  ordered_json out;
  out["order_prefix"] = std::vector<int>(experts.begin(), experts.begin() + decision.k);
  out["k_raw"] = k_raw;
  out["k"] = decision.k;
  out["min_hit"] = decision.min_hit;
  out["max_hit"] = decision.max_hit;
  return out;
}

// With what only the rule that decided knows.
ordered_json DecisionJson(const routing::Decision& decision, std::span<const uint8_t> experts,
                          std::span<const float> logits, const routing::RouterShape& shape,
                          const routing::LayerRule& rule, const routing::RowPlace& place) {
  constexpr size_t kFirst = 8;  // p-values, to find where a difference starts
  const routing::DecisionDetails details = routing::ExplainDecision(logits, shape, rule, place);
  ordered_json out = DecisionJson(decision, experts, details.k_raw);
  if (!rule.rule.adjust.force.empty()) out["force_hit"] = decision.force_hit;
  const std::vector<double>& p = details.ranked_p;
  if (!p.empty()) {
    out["p_first"] = std::vector<double>(
        p.begin(), p.begin() + static_cast<ptrdiff_t>(std::min(kFirst, p.size())));
  }
  return out;
}

std::vector<float> WeightsOf(const routing::RowRouting& decision) {
  return {decision.weights.begin(), decision.weights.begin() + decision.applied.k};
}

}  // namespace

std::vector<float> ToLogits(const std::vector<double>& numbers) {
  std::vector<float> logits;
  logits.reserve(numbers.size());
  for (const double number : numbers) logits.push_back(static_cast<float>(number));
  return logits;
}

ordered_json RecordedJson(const routing::RowRouting& decision) {
  ordered_json out = DecisionJson(decision.applied, decision.experts, decision.applied.k);
  out["weights"] = WeightsOf(decision);
  return out;
}

ordered_json ErrorJson(routing::RouteError error) {
  return {{"error", error == routing::RouteError::kNoTable ? "NO_TABLE" : "NON_FINITE_LOGIT"}};
}

RoutedRow RouteLogits(std::span<const float> logits, const RowRules& rules,
                      const routing::RowPlace& place) {
  RoutedRow row;
  const routing::LayerRule& apply = rules.Applied(place);
  const routing::LayerRule* analyze = rules.analyze ? &*rules.analyze : nullptr;
  const routing::RouteError error =
      routing::RouteRow(logits, rules.shape, apply, analyze, place, &row.decision);
  if (error != routing::RouteError::kNone) {
    row.json = ErrorJson(error);
    return row;
  }
  row.routed = true;
  const routing::RowRouting& decision = row.decision;
  row.json = DecisionJson(decision.applied, decision.experts, logits, rules.shape, apply, place);
  row.json["weights"] = WeightsOf(decision);
  if (!decision.analyzed) return row;
  row.json["candidate"] = DecisionJson(*decision.analyzed, decision.analyzed_experts, logits,
                                       rules.shape, *analyze, place);
  const routing::ExpertSet ran =
      routing::SetOf(std::span(decision.experts).first(decision.applied.k));
  const routing::ExpertSet would_run =
      routing::SetOf(std::span(decision.analyzed_experts).first(decision.analyzed->k));
  row.json["intersection"] = (ran & would_run).count();
  row.json["union"] = (ran | would_run).count();
  return row;
}

}  // namespace olmoe::client::route
