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

// Every rule but Expression keeps a prefix of the experts in the order (score
// descending, expert id ascending), where the score is the logit but for what Adjust does to it;
// it decides only how many.
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

// Part of a rule that may ask for p-values, where a calibration is named.
struct MaybePValues {
  std::string calibration_id;  // set: `pvalue` is a variable
  bool operator==(const MaybePValues&) const = default;
};

// The experts for which an expression is neither 0 nor NaN. The only rule that may keep others
// than the first of the order. Its text: expression.h.
struct Expression {
  std::string keep;  // 1..512 bytes
  Bounds bounds = {};
  MaybePValues p_values = {};
  bool operator==(const Expression&) const = default;
};

// monostate: a rule that names no kind; Validate refuses it. What the rest of the
// program knows of a kind is in rule_fields.h.
using RuleKind =
    std::variant<std::monostate, TopK, TopP, MinP, BenjaminiHochberg, HigherCriticism, Expression>;

// What a bias of the logits moves.
enum class BiasScope {
  kSelect,  // chooses experts; weights stay those of the logits
  kBoth,
};

struct Bias {
  std::optional<BiasScope> scope;  // has to be said
  std::vector<float> values;  // [num_experts], finite
  bool operator==(const Bias&) const = default;
};

// Experts get a score beyond the row's largest or smallest. SteerMoE, arXiv 2509.09660.
struct Steer {
  std::vector<uint32_t> toward;
  std::vector<uint32_t> away;
  double epsilon = 0.01;  // > 0, finite
  bool operator==(const Steer&) const = default;
};

// Score + tau * Gumbel(0, 1). RoE, arXiv 2509.17238.
struct Noise {
  double tau = 0;  // > 0, finite
  bool operator==(const Noise&) const = default;
};

// What becomes of the probability of banned experts.
enum class BanMass {
  kRedistribute,  // probabilities are over the candidates
  kKeep,  // over all experts: the mass of the banned is lost
};

// What happens to a row before a rule counts, in this order; what is unset does nothing. A set
// names no expert twice, and the sets share none, but for toward and force.
struct Adjust {
  std::optional<Bias> bias;
  std::optional<Steer> steer;
  std::optional<Noise> noise;
  std::vector<uint32_t> ban;  // never run; at least one expert is left
  BanMass ban_mass = BanMass::kRedistribute;
  std::vector<uint32_t> force;  // always run, first
  bool operator==(const Adjust&) const = default;
};

struct Rule {
  RuleKind kind;
  WeightMode weight_mode = WeightMode::kModelDefault;
  Adjust adjust = {};
  bool operator==(const Rule&) const = default;
};

// True where the adjustment does nothing, whatever the row.
bool HasNoEffect(const Adjust& adjust);

// Appends one violation per field of `rule` that is out of range for a router of
// `num_experts` experts; fields are named below `prefix`, e.g. "policy.apply.bh.alpha". A set is
// named once, whatever is wrong with it: "policy.apply.adjust.ban".
void ValidateRule(const Rule& rule, int num_experts, std::string_view prefix,
                  std::vector<FieldViolation>* violations);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_RULE_H_
