// One router's decision about one token: pure functions of (logit row, rule).
#ifndef OLMOE_SERVER_ROUTING_ROUTE_H_
#define OLMOE_SERVER_ROUTING_ROUTE_H_

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>

#include "server/routing/rule.h"

namespace olmoe::routing {

struct CdfTable;  // calibration.h

// The routers of a model: what a rule needs to know about it.
struct RouterShape {
  int num_layers = 0;
  int num_experts = 0;  // 1..kMaxExperts
  int default_k = 0;    // num_experts_per_tok, 1..num_experts
  bool norm_topk_prob = false;
  bool operator==(const RouterShape&) const = default;
};

// A rule with its defaults filled in and its table of this layer resolved.
struct LayerRule {
  Rule rule;                          // valid for the shape it was made for
  const CdfTable* cdf = nullptr;      // for PValueKind::kLayerCdf; owned by the policy
};

// Fills in the defaults of a valid rule: min_k, max_k, and the weight mode of the
// model for kModelDefault.
LayerRule MakeLayerRule(Rule rule, const RouterShape& shape, const CdfTable* cdf);

// How many experts a rule selects for a row, and by which bound.
struct Decision {
  uint8_t k = 0;            // 1..num_experts
  bool min_hit = false;     // the rule wanted fewer than min_k
  bool max_hit = false;     // the rule wanted more than max_k
  bool force_hit = false;   // more experts are forced than the rule and its bounds select
  float selected_mass = 0;  // softmax mass (temperature 1) of the selected experts
};

// The whole decision about one row. Its lists live here and not on the heap: a step makes
// one of these for every row and layer.
struct RowRouting {
  Decision applied;                          // experts that run
  std::optional<Decision> analyzed;          // experts that the analyzed rule would run
  float router_entropy = 0;                  // nats, of the softmax at temperature 1
  std::array<uint8_t, kMaxExperts> experts;  // [applied.k] ids, none twice
  std::array<float, kMaxExperts> weights;    // [applied.k], of those
  std::array<uint8_t, kMaxExperts> analyzed_experts;  // [analyzed.k] ids, none twice
};

// A selection without its order.
using ExpertSet = std::bitset<kMaxExperts>;
ExpertSet SetOf(std::span<const uint8_t> experts);

enum class RouteError {
  kNone,
  kNonFiniteLogit,  // NaN or an infinity in the row: an error of that row, for every rule
  kNoTable,         // kLayerCdf without a table; a compiled policy never has this
};

// Routes one row. `logits`: [num_experts] float32, as the router gives them. `analyze`
// may be null. On an error *out is unspecified. Deterministic: the same row gives
// the same bits, whatever else is in the batch; `analyze` never changes `applied`,
// `experts` or `weights`.
RouteError RouteRow(std::span<const float> logits, const RouterShape& shape, const LayerRule& apply,
                    const LayerRule* analyze, RowRouting* out);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_ROUTE_H_
