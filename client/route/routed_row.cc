#include "client/route/routed_row.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "server/routing/count.h"
#include "server/routing/logit_row.h"
#include "server/routing/rule_fields.h"

namespace olmoe::client::route {
namespace {

using nlohmann::ordered_json;

// The first p-values of the order, to find where a difference starts; null for a rule
// without p-values.
ordered_json FirstPValues(const routing::LayerRule& rule, routing::LogitRow* row) {
  constexpr int kFirst = 8;
  const auto* p_values = routing::FindPart<routing::PValueSource>(rule.rule);
  if (p_values == nullptr) return nullptr;
  std::array<double, routing::kMaxExperts> p;
  routing::PValues(*p_values, rule.cdf, row, p);
  ordered_json first = ordered_json::array();
  for (const uint8_t expert : row->Order(std::min(kFirst, row->num_experts()))) {
    first.push_back(p[expert]);
  }
  return first;
}

ordered_json DecisionJson(const routing::Decision& decision, std::span<const uint8_t> experts,
                          const routing::LayerRule& rule, std::span<const float> logits) {
  routing::LogitRow row(logits);
  ordered_json out;
  out["order_prefix"] = std::vector<int>(experts.begin(), experts.begin() + decision.k);
  out["k_raw"] = routing::RawCount(rule, &row);
  out["k"] = decision.k;
  out["min_hit"] = decision.min_hit;
  out["max_hit"] = decision.max_hit;
  ordered_json first = FirstPValues(rule, &row);
  if (!first.is_null()) out["p_first"] = std::move(first);
  return out;
}

}  // namespace

std::vector<float> ToLogits(const std::vector<double>& numbers) {
  std::vector<float> logits;
  logits.reserve(numbers.size());
  for (const double number : numbers) logits.push_back(static_cast<float>(number));
  return logits;
}

RoutedRow RouteLogits(std::span<const float> logits, const RowRules& rules) {
  RoutedRow row;
  const routing::LayerRule* analyze = rules.analyze ? &*rules.analyze : nullptr;
  const routing::RouteError error =
      routing::RouteRow(logits, rules.shape, rules.apply, analyze, &row.decision);
  if (error != routing::RouteError::kNone) {
    row.json["error"] = error == routing::RouteError::kNoTable ? "NO_TABLE" : "NON_FINITE_LOGIT";
    return row;
  }
  row.routed = true;
  const routing::RowRouting& decision = row.decision;
  row.json = DecisionJson(decision.applied, decision.experts, rules.apply, logits);
  row.json["weights"] =
      std::vector<float>(decision.weights.begin(), decision.weights.begin() + decision.applied.k);
  if (!decision.analyzed) return row;
  row.json["candidate"] =
      DecisionJson(*decision.analyzed, decision.analyzed_experts, *analyze, logits);
  const routing::ExpertSet ran =
      routing::SetOf(std::span(decision.experts).first(decision.applied.k));
  const routing::ExpertSet would_run =
      routing::SetOf(std::span(decision.analyzed_experts).first(decision.analyzed->k));
  row.json["intersection"] = (ran & would_run).count();
  row.json["union"] = (ran | would_run).count();
  return row;
}

}  // namespace olmoe::client::route
