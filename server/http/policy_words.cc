#include "server/http/policy_words.h"

#include <variant>

#include "absl/strings/str_cat.h"

namespace olmoe::http {
namespace {

std::string BoundWords(const routing::Bounds& bounds) {
  const auto& [min_k, max_k] = bounds;
  if (min_k && max_k) return absl::StrCat(", ", *min_k, " to ", *max_k, " experts");
  if (min_k) return absl::StrCat(", at least ", *min_k);
  if (max_k) return absl::StrCat(", at most ", *max_k);
  return "";
}

std::string PValueWords(const routing::PValueSource& source) {
  std::string words = source.kind == routing::PValueKind::kOneMinusProb
                          ? ", p = 1 - probability"
                          : absl::StrCat(", calibration ", source.calibration_id);
  if (source.temperature != 1) absl::StrAppend(&words, ", temperature ", source.temperature);
  return words;
}

struct KindWords {
  std::string operator()(const std::monostate&) const { return "no rule"; }
  std::string operator()(const routing::TopK& rule) const { return absl::StrCat("top ", rule.k); }
  std::string operator()(const routing::TopP& rule) const {
    return absl::StrCat("top-p ", rule.p, BoundWords(rule.bounds));
  }
  std::string operator()(const routing::MinP& rule) const {
    return absl::StrCat("min-p ", rule.ratio, BoundWords(rule.bounds));
  }
  std::string operator()(const routing::BenjaminiHochberg& rule) const {
    return absl::StrCat("Benjamini-Hochberg, alpha ", rule.alpha,
                        BoundWords(rule.bounds), PValueWords(rule.p_values));
  }
  std::string operator()(const routing::HigherCriticism& rule) const {
    return absl::StrCat("higher criticism", rule.beta ? absl::StrCat(", beta ", *rule.beta) : "",
                        BoundWords(rule.bounds), PValueWords(rule.p_values));
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
