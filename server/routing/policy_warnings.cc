#include "server/routing/policy_warnings.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/field_checks.h"
#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

// Appends the warnings about one rule at `path` ("policy.apply").
class RuleWarner {
 public:
  RuleWarner(const RouterShape& shape, std::string path, std::vector<std::string>* warnings)
      : shape_(shape), path_(std::move(path)), warnings_(*warnings) {}

  void Warn(const Rule& rule, bool runs) const {
    WarnPValues(rule);
    if (runs && rule.weight_mode == WeightMode::kSumToOne && !shape_.norm_topk_prob) {
      Add("weight_mode",
          "SUM_TO_ONE on a model that was trained without it (norm_topk_prob is false) "
          "scales the output of every MoE layer up by 1 / selected mass");
    }
  }

 private:
  void WarnPValues(const Rule& rule) const {
    const PValueSource* p_values = FindPart<PValueSource>(rule);
    if (p_values == nullptr || p_values->kind != PValueKind::kOneMinusProb) return;
    const std::string kind = KindName(rule);
    if (const auto* bh = std::get_if<BenjaminiHochberg>(&rule.kind)) {
      WarnOneMinusProb(*bh);
    } else {
      Add(kind + ".p_value",
          "ONE_MINUS_PROB is not a p-value: it is near 1 for all experts but a dominating one, so "
          "the count says little about the row; use LAYER_CDF");
    }
    if (!p_values->calibration_id.empty()) {
      Add(kind + ".calibration_id", "is not used by ONE_MINUS_PROB");
    }
  }

  void WarnOneMinusProb(const BenjaminiHochberg& rule) const {
    const double experts = shape_.num_experts;
    if (!(rule.alpha < (experts - 1) / experts)) return;
    Add("bh.p_value",
        absl::StrCat("ONE_MINUS_PROB gives exactly min_k (", rule.bounds.min_k.value_or(1),
                     ") experts for every alpha < (E-1)/E = ", (experts - 1) / experts,
                     ": rank k passes only if prob_(k) >= 1 - k alpha/E, but prob_(k) <= 1/k; "
                     "use LAYER_CDF"));
  }

  void Add(std::string_view field, std::string_view text) const {
    warnings_.push_back(absl::StrCat(FieldPath(path_, field), ": ", std::string(text)));
  }

  const RouterShape& shape_;
  const std::string path_;
  std::vector<std::string>& warnings_;
};

// Those of a policy, or of an override.
template <class Ruled>
void WarnRules(const Ruled& rules, const RouterShape& shape, std::string_view prefix,
               std::vector<std::string>* warnings) {
  const auto warn = [&](const std::optional<Rule>& rule, const char* name, bool runs) {
    if (rule) RuleWarner(shape, FieldPath(prefix, name), warnings).Warn(*rule, runs);
  };
  warn(rules.apply, "apply", true);
  warn(rules.analyze, "analyze", false);
  warn(rules.decode, "decode", true);
}

}  // namespace

std::vector<std::string> PolicyWarnings(const PolicySpec& spec, const RouterShape& shape,
                                        std::string_view prefix) {
  std::vector<std::string> warnings;
  WarnRules(spec, shape, prefix, &warnings);
  for (size_t i = 0; i < spec.layer_overrides.size(); ++i) {
    WarnRules(spec.layer_overrides[i], shape, FieldPath(prefix, "layer_overrides", i), &warnings);
  }
  return warnings;
}

std::vector<std::string> MergeWarnings(const std::vector<std::string>& warnings) {
  std::vector<std::pair<std::string, std::string>> merged;  // fields, text
  for (const std::string& warning : warnings) {
    const size_t colon = warning.find(": ");
    CHECK(colon != std::string::npos) << warning;
    const std::string field = warning.substr(0, colon);
    const std::string text = warning.substr(colon);
    const auto same = std::find_if(merged.begin(), merged.end(),
                                   [&text](const auto& one) { return one.second == text; });
    if (same == merged.end()) {
      merged.emplace_back(field, text);
    } else {
      absl::StrAppend(&same->first, ", ", field);
    }
  }
  std::vector<std::string> texts;
  for (const auto& [fields, text] : merged) texts.push_back(fields + text);
  return texts;
}

}  // namespace olmoe::routing
