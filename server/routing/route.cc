#include "server/routing/route.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "glog/logging.h"
#include "server/routing/count.h"
#include "server/routing/logit_row.h"

namespace olmoe::routing {
namespace {

// The parameters that only some kinds have, with what stands for them elsewhere.
template <typename Kind>
concept Bounded = requires(const Kind& kind) { kind.min_k; };
template <typename Kind>
concept Tested = requires(const Kind& kind) { kind.p_value; };

struct Bounds {
  int min_k, max_k;
};

Bounds BoundsOf(const Rule& rule, int num_experts) {
  return std::visit(
      [num_experts]<typename Kind>(const Kind& kind) -> Bounds {
        if constexpr (Bounded<Kind>) {
          return {static_cast<int>(kind.min_k.value_or(1)),
                  static_cast<int>(kind.max_k.value_or(num_experts))};
        } else {
          return {1, num_experts};
        }
      },
      rule.kind);
}

double TemperatureOf(const Rule& rule) {
  return std::visit(
      []<typename Kind>(const Kind& kind) -> double {
        if constexpr (Tested<Kind>) {
          return kind.temperature;
        } else {
          return 1;
        }
      },
      rule.kind);
}

bool LacksTable(const LayerRule& rule) {
  return rule.cdf == nullptr &&
         std::visit(
             []<typename Kind>(const Kind& kind) {
               if constexpr (Tested<Kind>) {
                 return kind.p_value == PValueKind::kLayerCdf;
               } else {
                 return false;
               }
             },
             rule.rule.kind);
}

Decision Decide(const LayerRule& rule, LogitRow* row) {
  const Bounds bounds = BoundsOf(rule.rule, row->num_experts());
  const int wanted = RawCount(rule, row);
  const int k = std::clamp(wanted, bounds.min_k, bounds.max_k);
  Decision decision;
  decision.k = static_cast<uint8_t>(k);
  decision.min_hit = wanted < bounds.min_k;
  decision.max_hit = wanted > bounds.max_k;
  decision.selected_mass = static_cast<float>(row->MassOfFirst(k));
  return decision;
}

// weights: [k], of the first k experts of the order.
void Weigh(const Rule& rule, const RouterShape& shape, LogitRow* row, std::span<float> weights) {
  const std::span<const float> probabilities = row->ProbabilitiesAt(TemperatureOf(rule));
  const std::span<const uint8_t> selected = row->Order(static_cast<int>(weights.size()));
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = probabilities[selected[i]];
    sum += weights[i];
  }
  // The first weight is the largest of E <= 128 that sum to 1: sum > 0.
  switch (rule.weight_mode) {
    case WeightMode::kNative:
      return;
    case WeightMode::kSumToOne:
      for (float& weight : weights) weight = static_cast<float>(weight / sum);
      return;
    case WeightMode::kMatchTopKMass: {
      const double mass = row->MassOfFirst(shape.default_k);
      for (float& weight : weights) weight = static_cast<float>(weight * mass / sum);
      return;
    }
    case WeightMode::kModelDefault:
      LOG(FATAL) << "a rule was not made by MakeLayerRule";
  }
}

}  // namespace

LayerRule MakeLayerRule(Rule rule, const RouterShape& shape, const CdfTable* cdf) {
  if (rule.weight_mode == WeightMode::kModelDefault) {
    rule.weight_mode = shape.norm_topk_prob ? WeightMode::kSumToOne : WeightMode::kNative;
  }
  const uint32_t num_experts = static_cast<uint32_t>(shape.num_experts);
  std::visit(
      [num_experts]<typename Kind>(Kind& kind) {
        if constexpr (Bounded<Kind>) {
          kind.min_k = kind.min_k.value_or(1);
          kind.max_k = kind.max_k.value_or(num_experts);
        }
      },
      rule.kind);
  return {std::move(rule), cdf};
}

RouteError RouteRow(std::span<const float> logits, const RouterShape& shape,
                    const LayerRule& apply, const LayerRule* analyze, RowRouting* out) {
  CHECK_EQ(logits.size(), static_cast<size_t>(shape.num_experts));
  if (!AllFinite(logits)) return RouteError::kNonFiniteLogit;
  if (LacksTable(apply) || (analyze != nullptr && LacksTable(*analyze))) {
    return RouteError::kNoTable;
  }
  LogitRow row(logits);
  out->applied = Decide(apply, &row);
  Weigh(apply.rule, shape, &row, {out->weights.data(), out->applied.k});
  out->analyzed.reset();
  if (analyze != nullptr) out->analyzed = Decide(*analyze, &row);
  out->router_entropy = row.entropy();

  const int ordered = std::max<int>(out->applied.k, out->analyzed ? out->analyzed->k : 0);
  const std::span<const uint8_t> order = row.Order(ordered);
  std::copy(order.begin(), order.end(), out->order.begin());
  return RouteError::kNone;
}

}  // namespace olmoe::routing
