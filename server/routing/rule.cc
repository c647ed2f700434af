#include "server/routing/rule.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/routing/field_checks.h"

namespace olmoe::routing {
namespace {

// One visit of a rule's parameters; `prefix` is the path of its kind ("apply.bh").
class RuleChecker {
 public:
  RuleChecker(int num_experts, std::string_view prefix, std::vector<FieldViolation>* violations)
      : num_experts_(static_cast<uint32_t>(num_experts)),
        prefix_(prefix),
        violations_(*violations) {}

  void operator()(const std::monostate&) const {
    violations_.push_back({prefix_, "must name a rule: top_k, top_p, min_p, bh or hc"});
  }
  void operator()(const TopK& rule) const { CheckCount(rule.k, Path("top_k", "k")); }
  void operator()(const TopP& rule) const {
    CheckShare(rule.p, Path("top_p", "p"));
    CheckBounds(rule, "top_p");
  }
  void operator()(const MinP& rule) const {
    CheckShare(rule.ratio, Path("min_p", "ratio"));
    CheckBounds(rule, "min_p");
  }
  void operator()(const BenjaminiHochberg& rule) const {
    CheckShare(rule.alpha, Path("bh", "alpha"));
    CheckBounds(rule, "bh");
    CheckPValues(rule, "bh");
  }
  void operator()(const HigherCriticism& rule) const {
    if (rule.beta.has_value()) CheckShare(*rule.beta, Path("hc", "beta"));
    CheckBounds(rule, "hc");
    CheckPValues(rule, "hc");
  }

 private:
  std::string Path(std::string_view kind, std::string_view field) const {
    return FieldPath(FieldPath(prefix_, kind), field);
  }

  bool CheckCount(uint32_t count, std::string field) const {
    if (count >= 1 && count <= num_experts_) return true;
    violations_.push_back(
        {std::move(field), absl::StrCat("must be 1..", num_experts_, ", is ", count)});
    return false;
  }

  // Written so that NaN fails.
  void CheckShare(double share, std::string field) const {
    if (share > 0 && share <= 1) return;
    violations_.push_back({std::move(field), absl::StrCat("must be > 0 and <= 1, is ", share)});
  }

  // min_k > max_k is an error of max_k, and only where min_k itself is in range.
  template <typename Bounded>
  void CheckBounds(const Bounded& rule, std::string_view kind) const {
    const bool min_ok = !rule.min_k || CheckCount(*rule.min_k, Path(kind, "min_k"));
    const bool max_ok = !rule.max_k || CheckCount(*rule.max_k, Path(kind, "max_k"));
    const uint32_t min_k = rule.min_k.value_or(1);
    const uint32_t max_k = rule.max_k.value_or(num_experts_);
    if (!min_ok || !max_ok || min_k <= max_k) return;
    violations_.push_back({Path(kind, "max_k"),
                           absl::StrCat("must be >= min_k, which is ", min_k, ", is ", max_k)});
  }

  template <typename Tested>
  void CheckPValues(const Tested& rule, std::string_view kind) const {
    if (!(rule.temperature > 0 && std::isfinite(rule.temperature))) {
      violations_.push_back({Path(kind, "temperature"),
                             absl::StrCat("must be > 0 and finite, is ", rule.temperature)});
    }
    if (rule.p_value != PValueKind::kLayerCdf) return;
    if (rule.calibration_id.empty()) {
      violations_.push_back({Path(kind, "calibration_id"), "must be set for LAYER_CDF"});
    } else {
      CheckCalibrationId(rule.calibration_id, Path(kind, "calibration_id"), &violations_);
    }
  }

  const uint32_t num_experts_;
  const std::string prefix_;
  std::vector<FieldViolation>& violations_;
};

}  // namespace

void ValidateRule(const Rule& rule, int num_experts, std::string_view prefix,
                  std::vector<FieldViolation>* violations) {
  std::visit(RuleChecker(num_experts, prefix, violations), rule.kind);
}

}  // namespace olmoe::routing
