#include "server/routing/route.h"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "glog/logging.h"
#include "server/routing/adjusted_row.h"
#include "server/routing/count.h"
#include "server/routing/expression.h"
#include "server/routing/logit_row.h"
#include "server/routing/rule_fields.h"
#include "server/routing/weights.h"

namespace olmoe::routing {
namespace {

bool LacksTable(const LayerRule& rule) {
  return rule.cdf == nullptr && NeededCalibration(rule.rule) != nullptr;
}

struct Limits {
  int min_k, max_k;
};
Limits LimitsOf(const Rule& rule, int num_experts) {
  const Bounds* bounds = FindPart<Bounds>(rule);
  if (bounds == nullptr) return {1, num_experts};
  return {static_cast<int>(bounds->min_k.value_or(1)),
          static_cast<int>(bounds->max_k.value_or(static_cast<uint32_t>(num_experts)))};
}

// `experts`: [num_experts], receives those selected.
Decision Decide(const LayerRule& rule, LogitRow* row, std::span<uint8_t> experts) {
  const auto [min_k, max_k] = LimitsOf(rule.rule, row->num_experts());
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

// What a rule keeps of an adjusted row before its bounds, in the order. Returns their number.
int Keep(const LayerRule& rule, const RouterShape& shape, const RowPlace& place,
         std::span<const float> logits, AdjustedRow* row, std::span<uint8_t> kept) {
  if (rule.expression != nullptr) return KeptBy(rule, shape, place, logits, row, kept);
  const int count = RawCount(rule, row);
  const std::span<const uint8_t> first = row->Order(count);
  std::copy(first.begin(), first.end(), kept.begin());
  return count;
}

// From the experts that are kept to those within the bounds: too many are cut, too few are
// followed by the first others of the order. Returns their number.
int Bound(Limits limits, std::span<const uint8_t> order, int num_kept, std::span<uint8_t> chosen) {
  size_t count = static_cast<size_t>(std::min(num_kept, limits.max_k));
  const ExpertSet kept = SetOf(chosen.first(count));
  for (size_t i = 0; count < static_cast<size_t>(limits.min_k); ++i) {
    if (!kept[order[i]]) chosen[count++] = order[i];
  }
  return static_cast<int>(count);
}

// Lists the forced experts, then the first of `chosen` that still have a place, each group by the
// order. Returns their number.
int ListSelected(const std::vector<uint32_t>& force, std::span<const uint8_t> order,
                 std::span<const uint8_t> chosen, std::span<uint8_t> experts) {
  ExpertSet forced, others;
  for (const uint32_t expert : force) forced[expert] = true;
  size_t places = std::max(chosen.size(), force.size()) - force.size();
  for (const uint8_t expert : chosen) {
    if (forced[expert] || places == 0) continue;
    others[expert] = true;
    --places;
  }
  int k = 0;
  for (const ExpertSet& group : {forced, others}) {
    for (const uint8_t expert : order) {
      if (group[expert]) experts[static_cast<size_t>(k++)] = expert;
    }
  }
  return k;
}

// The same of an adjusted row. `raw`: the row of its logits.
Decision Decide(const LayerRule& rule, const RouterShape& shape, const RowPlace& place,
                const LogitRow& raw, AdjustedRow* row, std::span<uint8_t> experts) {
  const std::span<const uint8_t> order = row->Order(row->num_experts());
  const Limits limits = LimitsOf(rule.rule, row->num_experts());
  const std::vector<uint32_t>& force = rule.rule.adjust.force;
  std::array<uint8_t, kMaxExperts> chosen;
  const int wanted = Keep(rule, shape, place, raw.logits(), row, chosen);
  const int count = Bound(limits, order, wanted, chosen);
  const int k =
      ListSelected(force, order, std::span(chosen).first(static_cast<size_t>(count)), experts);
  Decision decision;
  decision.k = static_cast<uint8_t>(k);
  decision.min_hit = wanted < limits.min_k;
  decision.max_hit = wanted > limits.max_k;
  decision.force_hit = force.size() > static_cast<size_t>(count);
  double mass = 0;
  for (const uint8_t expert : experts.first(static_cast<size_t>(k))) {
    mass += raw.probabilities()[expert];
  }
  decision.selected_mass = static_cast<float>(mass);
  return decision;
}

double TemperatureOf(const Rule& rule) {
  const PValueSource* p_values = FindPart<PValueSource>(rule);
  return p_values == nullptr ? 1 : p_values->temperature;
}

// weights: [k], of the first k experts of the order.
void WeighFirst(const Rule& rule, const RouterShape& shape, LogitRow* row,
                std::span<float> weights) {
  const std::span<const float> probabilities = row->ProbabilitiesAt(TemperatureOf(rule));
  const std::span<const uint8_t> selected = row->Order(static_cast<int>(weights.size()));
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = probabilities[selected[i]];
    sum += weights[i];
  }
  // The first weight is the largest of E <= 128 that sum to 1: sum > 0.
  ScaleWeights(rule.weight_mode, shape, sum, row, weights);
}

// Decides by `rule`, and weighs the experts where `weights` is not null. False: a sum overflowed.
bool DecideRow(const LayerRule& rule, const RouterShape& shape, const RowPlace& place,
               LogitRow* raw, Decision* decision, std::span<uint8_t> experts, float* weights) {
  if (!rule.adjusted) {
    *decision = Decide(rule, raw, experts);
    if (weights != nullptr) WeighFirst(rule.rule, shape, raw, {weights, decision->k});
    return true;
  }
  AdjustedRow row(*raw, rule.rule.adjust, place);
  if (!row.finite()) return false;
  *decision = Decide(rule, shape, place, *raw, &row, experts);
  if (weights != nullptr) {
    Weigh(rule.rule.weight_mode, TemperatureOf(rule.rule), shape, experts.first(decision->k), &row,
          raw, {weights, decision->k});
  }
  return true;
}

}  // namespace

LayerRule MakeLayerRule(Rule rule, const RouterShape& shape, const CdfTable* cdf) {
  if (rule.weight_mode == WeightMode::kModelDefault) {
    rule.weight_mode = shape.norm_topk_prob ? WeightMode::kSumToOne : WeightMode::kNative;
  }
  if (Bounds* bounds = FindPart<Bounds>(&rule)) {
    const size_t num_candidates = static_cast<size_t>(shape.num_experts) - rule.adjust.ban.size();
    bounds->min_k = bounds->min_k.value_or(1);
    bounds->max_k = bounds->max_k.value_or(static_cast<uint32_t>(num_candidates));
  }
  LayerRule made{.rule = std::move(rule), .cdf = cdf, .adjusted = false, .expression = nullptr};
  if (const auto* expression = std::get_if<Expression>(&made.rule.kind)) {
    made.expression = std::make_shared<CompiledExpression>(
        expression->keep, !expression->p_values.calibration_id.empty());
  }
  made.adjusted = made.expression != nullptr || !HasNoEffect(made.rule.adjust);
  return made;
}

ExpertSet SetOf(std::span<const uint8_t> experts) {
  ExpertSet set;
  for (const uint8_t expert : experts) set[expert] = true;
  return set;
}

RouteError RouteRow(std::span<const float> logits, const RouterShape& shape, const LayerRule& apply,
                    const LayerRule* analyze, const RowPlace& place, RowRouting* out) {
  CHECK_EQ(logits.size(), static_cast<size_t>(shape.num_experts));
  if (!AllFinite(logits)) return RouteError::kNonFiniteLogit;
  LogitRow row(logits);
  if (LacksTable(apply) || (analyze != nullptr && LacksTable(*analyze))) {
    // A sum that overflows is told before a table that is missing.
    const auto overflows = [&](const LayerRule* rule) {
      return rule != nullptr && !AdjustedRow(row, rule->rule.adjust, place).finite();
    };
    return overflows(&apply) || overflows(analyze) ? RouteError::kNonFiniteLogit
                                                   : RouteError::kNoTable;
  }
  if (!DecideRow(apply, shape, place, &row, &out->applied, out->experts, out->weights.data())) {
    return RouteError::kNonFiniteLogit;
  }
  out->analyzed.reset();
  if (analyze != nullptr && !DecideRow(*analyze, shape, place, &row, &out->analyzed.emplace(),
                                       out->analyzed_experts, nullptr)) {
    return RouteError::kNonFiniteLogit;
  }
  out->router_entropy = row.entropy();
  return RouteError::kNone;
}

DecisionDetails ExplainDecision(std::span<const float> logits, const RouterShape& shape,
                                const LayerRule& rule, const RowPlace& place) {
  const LogitRow raw(logits);
  // An adjusted row gives what the row of logits does, where nothing is adjusted.
  AdjustedRow row(raw, rule.rule.adjust, place);
  std::array<uint8_t, kMaxExperts> kept;
  DecisionDetails details;
  details.k_raw = Keep(rule, shape, place, logits, &row, kept);
  const PValueSource* p_values = FindPart<PValueSource>(rule.rule);
  if (p_values == nullptr && NeededCalibration(rule.rule) == nullptr) return details;
  std::array<double, kMaxExperts> p;
  PValues(p_values == nullptr ? PValueSource() : *p_values, rule.cdf, &row, p);
  for (const uint8_t expert : row.Order(row.num_experts())) details.ranked_p.push_back(p[expert]);
  return details;
}

}  // namespace olmoe::routing
