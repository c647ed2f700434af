#include "server/routing/rule.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/routing/field_checks.h"
#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

// One visit of a rule's parameters; `prefix` is the path of its kind ("apply.bh").
class RuleChecker {
 public:
  RuleChecker(int num_experts, std::string prefix, std::vector<FieldViolation>* violations)
      : num_experts_(static_cast<uint32_t>(num_experts)),
        prefix_(std::move(prefix)),
        violations_(*violations) {}

  template <class Owner>
  void CheckFields(const Owner& owner) const {
    ForEachEntry(
        owner,
        [&](const auto& field, const auto& value) { CheckValue(field.range, value, field.name); },
        [&](const auto& part) { CheckPart(part); });
  }

 private:
  // min_k > max_k is an error of max_k, and only where both are in range.
  void CheckPart(const Bounds& bounds) const {
    const size_t num_violations = violations_.size();
    CheckFields(bounds);
    const uint32_t min_k = bounds.min_k.value_or(1);
    const uint32_t max_k = bounds.max_k.value_or(num_experts_);
    if (violations_.size() > num_violations || min_k <= max_k) return;
    Add("max_k", absl::StrCat("must be >= min_k, which is ", min_k, ", is ", max_k));
  }

  void CheckPart(const PValueSource& p_values) const {
    CheckFields(p_values);
    if (p_values.kind != PValueKind::kLayerCdf) return;
    if (p_values.calibration_id.empty()) {
      Add("calibration_id", "must be set for LAYER_CDF");
    } else {
      CheckCalibrationId(p_values.calibration_id, FieldPath(prefix_, "calibration_id"),
                         &violations_);
    }
  }

  template <class Range, class Value>
  void CheckValue(Range range, const std::optional<Value>& value, const char* name) const {
    if (value) CheckValue(range, *value, name);
  }
  void CheckValue(Count, uint32_t count, const char* name) const {
    if (count >= 1 && count <= num_experts_) return;
    Add(name, absl::StrCat("must be 1..", num_experts_, ", is ", count));
  }
  // Written so that NaN fails.
  void CheckValue(Share, double share, const char* name) const {
    if (share > 0 && share <= 1) return;
    Add(name, absl::StrCat("must be > 0 and <= 1, is ", share));
  }
  void CheckValue(Positive, double value, const char* name) const {
    if (value > 0 && std::isfinite(value)) return;
    Add(name, absl::StrCat("must be > 0 and finite, is ", value));
  }
  template <class Value>
  void CheckValue(AnyValue, const Value&, const char*) const {}

  void Add(const char* name, std::string text) const {
    violations_.push_back({FieldPath(prefix_, name), std::move(text)});
  }

  const uint32_t num_experts_;
  const std::string prefix_;
  std::vector<FieldViolation>& violations_;
};

// "top_k, top_p or bh"
std::string KindNames() {
  std::vector<std::string> names;
  ForEachKind([&names]<class Kind>(const Kind&) { names.push_back(Description<Kind>::kName); });
  const std::string last = names.back();
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

}  // namespace

void ValidateRule(const Rule& rule, int num_experts, std::string_view prefix,
                  std::vector<FieldViolation>* violations) {
  if (std::holds_alternative<std::monostate>(rule.kind)) {
    violations->push_back({std::string(prefix), absl::StrCat("must name a rule: ", KindNames())});
    return;
  }
  const RuleChecker checker(num_experts, FieldPath(prefix, KindName(rule)), violations);
  std::visit([&checker](const auto& kind) { checker.CheckFields(kind); }, rule.kind);
}

RuleKind MakeKind(std::string_view name) {
  RuleKind found;
  ForEachKind([&]<class Kind>(const Kind& kind) {
    if (name == Description<Kind>::kName) found = kind;
  });
  return found;
}

std::string ValueText(uint32_t value) { return absl::StrCat(value); }

std::string ValueText(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  return std::string(digits, end);
}

std::string ParameterText(const Rule& rule, std::string_view name) {
  std::string text;
  std::visit(
      [&](const auto& kind) {
        ForEachField(kind, [&](const auto& field, const auto& value) {
          if (name == field.name) text = ValueText(value);
        });
      },
      rule.kind);
  return text;
}

}  // namespace olmoe::routing
