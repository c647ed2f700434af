// One router's decision about one token: pure functions of (logit row, rule).
#ifndef OLMOE_SERVER_ROUTING_ROUTE_H_
#define OLMOE_SERVER_ROUTING_ROUTE_H_

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/routing/rule.h"

namespace olmoe::routing {

struct CdfTable;           // calibration.h
class CompiledExpression;  // expression.h

// The routers of a model: what a rule needs to know about it.
struct RouterShape {
  int num_layers = 0;
  int num_experts = 0;  // 1..kMaxExperts
  int default_k = 0;    // num_experts_per_tok, 1..num_experts
  bool norm_topk_prob = false;
  bool operator==(const RouterShape&) const = default;
};

// Where a row stands. What of a decision depends on it: noise, and expressions that ask for it.
struct RowPlace {
  int layer = 0;
  uint64_t position = 0;      // in the sequence that the model runs, that of rope
  uint64_t routing_seed = 0;  // of the request
  bool late = false;          // the token is beyond the prompt
};

// A rule with its defaults filled in and its table of this layer resolved.
struct LayerRule {
  Rule rule;                          // valid for the shape it was made for
  const CdfTable* cdf = nullptr;      // for p-values of a calibration; owned by the policy
  bool adjusted = false;  // the order is not that of the logits, or no prefix of it runs
  std::shared_ptr<const CompiledExpression> expression;  // of an Expression
};

// Fills in the defaults of a valid rule: min_k, max_k, and the weight mode of the
// model for kModelDefault. Parses an expression.
LayerRule MakeLayerRule(Rule rule, const RouterShape& shape, const CdfTable* cdf);

// How many experts a rule selects for a row, and by which bound.
struct Decision {
  uint8_t k = 0;  // 1..num_experts
  bool min_hit = false;  // the rule wanted fewer than min_k
  bool max_hit = false;  // the rule wanted more than max_k
  bool force_hit = false;  // more experts are forced than the rule and its bounds select
  float selected_mass = 0;  // softmax mass (temperature 1) of the selected experts
};

// The whole decision about one row. Its lists live here and not on the heap: a step makes
// one of these for every row and layer.
struct RowRouting {
  Decision applied;  // experts that run
  std::optional<Decision> analyzed;  // experts that the analyzed rule would run
  float router_entropy = 0;  // nats, of the softmax at temperature 1
  std::array<uint8_t, kMaxExperts> experts;  // [applied.k] ids, none twice
  std::array<float, kMaxExperts> weights;  // [applied.k], of those
  std::array<uint8_t, kMaxExperts> analyzed_experts;  // [analyzed.k] ids, none twice
};

// A selection without its order.
using ExpertSet = std::bitset<kMaxExperts>;
ExpertSet SetOf(std::span<const uint8_t> experts);

enum class RouteError {
  kNone,
  // NaN or an infinity in the row, or a sum with a bias that overflows: an error of that row
  kNonFiniteLogit,
  kNoTable,  // p-values of a calibration without a table; a compiled policy never has this
};

// Routes one row. `logits`: [num_experts] float32, as the router gives them. `analyze`
// may be null. On an error *out is unspecified. Deterministic: the same row gives
// the same bits, whatever else is in the batch; `analyze` never changes `applied`,
// `experts` or `weights`.
RouteError RouteRow(std::span<const float> logits, const RouterShape& shape, const LayerRule& apply,
                    const LayerRule* analyze, const RowPlace& place, RowRouting* out);

// What a decision does not tell, for who compares decisions.
struct DecisionDetails {
  int k_raw = 0;  // before the bounds
  std::vector<double> ranked_p;  // p-values in the order without force; empty: there are none
};
// REQUIRES: RouteRow takes the row by this rule.
DecisionDetails ExplainDecision(std::span<const float> logits, const RouterShape& shape,
                                const LayerRule& rule, const RowPlace& place);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_ROUTE_H_
