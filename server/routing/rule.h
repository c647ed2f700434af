// What a routing rule is, as data: the parameters of each kind and their ranges.
// How a rule decides is route.h; which layer runs which rule is policy.h.
#ifndef OLMOE_SERVER_ROUTING_RULE_H_
#define OLMOE_SERVER_ROUTING_RULE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/util/status_details.h"

namespace olmoe::routing {

inline constexpr int kMaxExperts = 128;

// What is done with the softmax probabilities of the selected experts.
enum class WeightMode {
  kModelDefault,   // config.json norm_topk_prob: false = kNative, true = kSumToOne
  kNative,         // kept as they are: their sum is <= 1
  kSumToOne,       // divided by their sum
  kMatchTopKMass,  // scaled to the mass of the model's own top-k at temperature 1
};

// How a router logit becomes a p-value.
enum class PValueKind {
  kLayerCdf,      // 1 - F_layer(logit), F from a named calibration
  kOneMinusProb,  // 1 - softmax(logit / temperature)
};

// Part of every rule that decides a count. Counts are uint32 as they come from the
// wire, so that an absurd value is named and not wrapped.
struct Bounds {
  std::optional<uint32_t> min_k;  // 1..num_experts, unset = 1
  std::optional<uint32_t> max_k;  // min_k..num_experts, unset = num_experts
  bool operator==(const Bounds&) const = default;
};

// Part of every rule on p-values: where they come from.
struct PValueSource {
  PValueKind kind = PValueKind::kLayerCdf;
  std::string calibration_id;  // needed for kLayerCdf
  double temperature = 1;      // > 0, finite; of the softmax, for weights and kOneMinusProb
  bool operator==(const PValueSource&) const = default;
};

// Every rule keeps a prefix of the experts in the order (logit descending,
// expert id ascending); it decides only how many.
struct TopK {
  uint32_t k = 0;  // 1..num_experts
  bool operator==(const TopK&) const = default;
};

// The smallest prefix whose probabilities sum to >= p.
struct TopP {
  double p = 0;  // (0, 1]
  Bounds bounds = {};
  bool operator==(const TopP&) const = default;
};

// The experts with probability >= ratio * the largest probability.
struct MinP {
  double ratio = 0;  // (0, 1]
  Bounds bounds = {};
  bool operator==(const MinP&) const = default;
};

// Step-up rule: max{k : p_(k) * E <= alpha * k}. Benjamini & Hochberg 1995.
struct BenjaminiHochberg {
  double alpha = 0;  // (0, 1]
  Bounds bounds = {};
  PValueSource p_values = {};
  bool operator==(const BenjaminiHochberg&) const = default;
};

// First maximum of HC(i) over the candidate ranks. Donoho & Jin 2004.
struct HigherCriticism {
  std::optional<double> beta;  // (0, 1]: the first beta * E ranks; unset: ranks with p_(i) < i / E
  Bounds bounds = {};
  PValueSource p_values = {};
  bool operator==(const HigherCriticism&) const = default;
};

// monostate: a rule that names no kind; Validate refuses it. What the rest of the
// program knows of a kind is in rule_fields.h.
using RuleKind = std::variant<std::monostate, TopK, TopP, MinP, BenjaminiHochberg, HigherCriticism>;

struct Rule {
  RuleKind kind;
  WeightMode weight_mode = WeightMode::kModelDefault;
  bool operator==(const Rule&) const = default;
};

// Appends one violation per field of `rule` that is out of range for a router of
// `num_experts` experts; fields are named below `prefix`, e.g. "policy.apply.bh.alpha".
void ValidateRule(const Rule& rule, int num_experts, std::string_view prefix,
                  std::vector<FieldViolation>* violations);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_RULE_H_
