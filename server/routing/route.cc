#include "server/routing/route.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "server/routing/count.h"
#include "server/routing/logit_row.h"
#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

bool LacksTable(const LayerRule& rule) {
  return rule.cdf == nullptr && NeededCalibration(rule.rule) != nullptr;
}

// `experts`: [num_experts], receives those selected.
Decision Decide(const LayerRule& rule, LogitRow* row, std::span<uint8_t> experts) {
  const Bounds* bounds = FindPart<Bounds>(rule.rule);
  const int num_experts = row->num_experts();
  const int min_k = bounds == nullptr ? 1 : static_cast<int>(bounds->min_k.value_or(1));
  const int max_k =
      bounds == nullptr ? num_experts : static_cast<int>(bounds->max_k.value_or(num_experts));
  const int wanted = RawCount(rule, row);
  const int k = std::clamp(wanted, min_k, max_k);
  Decision decision;
  decision.k = static_cast<uint8_t>(k);
  decision.min_hit = wanted < min_k;
  decision.max_hit = wanted > max_k;
  decision.selected_mass = static_cast<float>(row->MassOfFirst(k));
  const std::span<const uint8_t> selected = row->Order(k);
  std::copy(selected.begin(), selected.end(), experts.begin());
  return decision;
}

// weights: [k], of the first k experts of the order.
void Weigh(const Rule& rule, const RouterShape& shape, LogitRow* row, std::span<float> weights) {
  const PValueSource* p_values = FindPart<PValueSource>(rule);
  const std::span<const float> probabilities =
      row->ProbabilitiesAt(p_values == nullptr ? 1 : p_values->temperature);
  const std::span<const uint8_t> selected = row->Order(static_cast<int>(weights.size()));
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = probabilities[selected[i]];
    sum += weights[i];
  }
  // The first weight is the largest of E <= 128 that sum to 1: sum > 0.
  switch (rule.weight_mode) {
    case WeightMode::kNative: return;
    case WeightMode::kSumToOne:
      for (float& weight : weights) weight = static_cast<float>(weight / sum);
      return;
    case WeightMode::kMatchTopKMass: {
      const double mass = row->MassOfFirst(shape.default_k);
      for (float& weight : weights) weight = static_cast<float>(weight * mass / sum);
      return;
    }
    case WeightMode::kModelDefault: LOG(FATAL) << "a rule was not made by MakeLayerRule";
  }
}

}  // namespace

LayerRule MakeLayerRule(Rule rule, const RouterShape& shape, const CdfTable* cdf) {
  if (rule.weight_mode == WeightMode::kModelDefault) {
    rule.weight_mode = shape.norm_topk_prob ? WeightMode::kSumToOne : WeightMode::kNative;
  }
  if (Bounds* bounds = FindPart<Bounds>(&rule)) {
    bounds->min_k = bounds->min_k.value_or(1);
    bounds->max_k = bounds->max_k.value_or(static_cast<uint32_t>(shape.num_experts));
  }
  return {std::move(rule), cdf};
}

ExpertSet SetOf(std::span<const uint8_t> experts) {
  ExpertSet set;
  for (const uint8_t expert : experts) set[expert] = true;
  return set;
}

RouteError RouteRow(std::span<const float> logits, const RouterShape& shape, const LayerRule& apply,
                    const LayerRule* analyze, RowRouting* out) {
  CHECK_EQ(logits.size(), static_cast<size_t>(shape.num_experts));
  if (!AllFinite(logits)) return RouteError::kNonFiniteLogit;
  if (LacksTable(apply) || (analyze != nullptr && LacksTable(*analyze))) {
    return RouteError::kNoTable;
  }
  LogitRow row(logits);
  out->applied = Decide(apply, &row, out->experts);
  Weigh(apply.rule, shape, &row, {out->weights.data(), out->applied.k});
  out->analyzed.reset();
  if (analyze != nullptr) out->analyzed = Decide(*analyze, &row, out->analyzed_experts);
  out->router_entropy = row.entropy();
  return RouteError::kNone;
}

}  // namespace olmoe::routing
