#include "server/http/policy_words.h"

#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"

namespace olmoe::http {
namespace {

using Bound = std::optional<uint32_t>;

std::string BoundWords(Bound min_k, Bound max_k) {
  if (min_k && max_k) return absl::StrCat(", ", *min_k, " to ", *max_k, " experts");
  if (min_k) return absl::StrCat(", at least ", *min_k);
  if (max_k) return absl::StrCat(", at most ", *max_k);
  return "";
}

// Of BenjaminiHochberg or HigherCriticism.
template <class PValueRule>
std::string PValueWords(const PValueRule& rule) {
  std::string words = rule.p_value == routing::PValueKind::kOneMinusProb
                          ? ", p = 1 - probability"
                          : absl::StrCat(", calibration ", rule.calibration_id);
  if (rule.temperature != 1) absl::StrAppend(&words, ", temperature ", rule.temperature);
  return words;
}

struct KindWords {
  std::string operator()(const std::monostate&) const { return "no rule"; }
  std::string operator()(const routing::TopK& rule) const { return absl::StrCat("top ", rule.k); }
  std::string operator()(const routing::TopP& rule) const {
    return absl::StrCat("top-p ", rule.p, BoundWords(rule.min_k, rule.max_k));
  }
  std::string operator()(const routing::MinP& rule) const {
    return absl::StrCat("min-p ", rule.ratio, BoundWords(rule.min_k, rule.max_k));
  }
  std::string operator()(const routing::BenjaminiHochberg& rule) const {
    return absl::StrCat("Benjamini-Hochberg, alpha ", rule.alpha,
                        BoundWords(rule.min_k, rule.max_k), PValueWords(rule));
  }
  std::string operator()(const routing::HigherCriticism& rule) const {
    return absl::StrCat("higher criticism", rule.beta ? absl::StrCat(", beta ", *rule.beta) : "",
                        BoundWords(rule.min_k, rule.max_k), PValueWords(rule));
  }
};

std::string_view WeightWords(routing::WeightMode mode) {
  switch (mode) {
    case routing::WeightMode::kModelDefault: return "";
    case routing::WeightMode::kNative: return ", weights as they are";
    case routing::WeightMode::kSumToOne: return ", weights sum to 1";
    case routing::WeightMode::kMatchTopKMass: return ", weights scaled to the top-k mass";
  }
  return "";
}

}  // namespace

std::string RuleWords(const routing::Rule& rule) {
  return std::visit(KindWords(), rule.kind).append(WeightWords(rule.weight_mode));
}

std::string NativeWords(int default_top_k) {
  return absl::StrCat("the model's own top ", default_top_k);
}

std::string LayerWords(const std::vector<uint32_t>& layers) {
  std::string words;
  for (size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
    end = begin + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    absl::StrAppend(&words, words.empty() ? "" : ", ", layers[begin]);
    if (end - begin > 1) absl::StrAppend(&words, "-", layers[end - 1]);
  }
  return words;
}

}  // namespace olmoe::http
