#include "server/routing/rule.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/routing/expression.h"
#include "server/routing/field_checks.h"
#include "server/routing/route.h"
#include "server/routing/rule_fields.h"
#include "server/routing/rule_words.h"

namespace olmoe::routing {
namespace {

// The checks of an adjustment; `prefix` is its path ("apply.adjust"). Each field is named once.
class AdjustChecker {
 public:
  AdjustChecker(int num_experts, std::string prefix, std::vector<FieldViolation>* violations)
      : num_experts_(static_cast<uint32_t>(num_experts)),
        prefix_(std::move(prefix)),
        violations_(*violations) {}

  // Returns the number of experts that are left to count.
  int Check(const Adjust& adjust) const {
    if (adjust.bias) CheckBias(*adjust.bias);
    const Steer steer = adjust.steer.value_or(Steer());
    if (adjust.steer) CheckSteer(steer);
    if (adjust.noise) CheckPositive("noise.tau", adjust.noise->tau);
    const size_t before_ban = violations_.size();
    CheckSet("ban", adjust.ban, {{"steer.toward", &steer.toward}, {"steer.away", &steer.away}});
    const bool ban_is_valid = violations_.size() == before_ban;
    CheckSet("force", adjust.force, {{"steer.away", &steer.away}, {"ban", &adjust.ban}});
    return static_cast<int>(num_experts_ - (ban_is_valid ? adjust.ban.size() : 0));
  }

 private:
  struct Other {
    const char* name;
    const std::vector<uint32_t>* ids;
  };

  void CheckBias(const Bias& bias) const {
    if (!bias.scope) Add("bias.scope", "must be SELECT or BOTH");
    if (bias.values.size() != num_experts_) {
      Add("bias.values", absl::StrCat("must have a value for each of the ", num_experts_,
                                      " experts, has ", bias.values.size()));
    } else if (!std::all_of(bias.values.begin(), bias.values.end(),
                            [](float value) { return std::isfinite(value); })) {
      Add("bias.values", "must be finite");
    }
  }

  void CheckSteer(const Steer& steer) const {
    if (steer.toward.empty() && steer.away.empty()) {
      Add("steer.toward", "must name an expert where away names none");
    }
    CheckSet("steer.toward", steer.toward, {});
    CheckSet("steer.away", steer.away, {{"steer.toward", &steer.toward}});
    CheckPositive("steer.epsilon", steer.epsilon);
  }

  void CheckSet(const char* name, const std::vector<uint32_t>& ids,
                std::initializer_list<Other> others) const {
    const std::string error = SetError(ids, others);
    if (!error.empty()) {
      Add(name, error);
    } else if (ids.size() == num_experts_ && std::string_view(name) == "ban") {
      Add(name, "must leave an expert");
    }
  }

  // What is wrong with the first id that is wrong.
  std::string SetError(const std::vector<uint32_t>& ids,
                       std::initializer_list<Other> others) const {
    ExpertSet seen;
    for (const uint32_t id : ids) {
      if (id >= num_experts_) return absl::StrCat("must be 0..", num_experts_ - 1, ", has ", id);
      if (seen[id]) return absl::StrCat("names expert ", id, " twice");
      seen[id] = true;
      for (const Other& other : others) {
        if (std::find(other.ids->begin(), other.ids->end(), id) != other.ids->end()) {
          return absl::StrCat("names expert ", id, ", as ", other.name, " does");
        }
      }
    }
    return "";
  }

  void CheckPositive(const char* name, double value) const {
    if (value > 0 && std::isfinite(value)) return;
    Add(name, absl::StrCat("must be > 0 and finite, is ", value));
  }

  void Add(const char* name, std::string text) const {
    violations_.push_back({FieldPath(prefix_, name), std::move(text)});
  }

  const uint32_t num_experts_;
  const std::string prefix_;
  std::vector<FieldViolation>& violations_;
};

// One visit of a rule's parameters; `prefix` is the path of its kind ("apply.bh").
class RuleChecker {
 public:
  RuleChecker(int num_experts, std::string prefix, std::vector<FieldViolation>* violations)
      : num_experts_(static_cast<uint32_t>(num_experts)),
        prefix_(std::move(prefix)),
        violations_(*violations) {}

  template <class Kind>
  void CheckKind(const Kind& kind) const {
    CheckFields(kind);
  }
  void CheckKind(const Expression& expression) const {
    const std::string error =
        ExpressionError(expression.keep, !expression.p_values.calibration_id.empty());
    if (!error.empty()) Add("keep", error);
    CheckFields(expression);
  }

 private:
  template <class Owner>
  void CheckFields(const Owner& owner) const {
    ForEachEntry(
        owner,
        [&](const auto& field, const auto& value) { CheckValue(field.range, value, field.name); },
        [&](const auto& part) { CheckPart(part); });
  }

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
      CheckCalibration(p_values.calibration_id);
    }
  }

  void CheckPart(const MaybePValues& p_values) const {
    if (!p_values.calibration_id.empty()) CheckCalibration(p_values.calibration_id);
  }

  void CheckCalibration(const std::string& id) const {
    CheckLongName(id, FieldPath(prefix_, "calibration_id"), &violations_);
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
  const int num_candidates =
      AdjustChecker(num_experts, FieldPath(prefix, "adjust"), violations).Check(rule.adjust);
  if (std::holds_alternative<std::monostate>(rule.kind)) {
    violations->push_back({std::string(prefix), absl::StrCat("must name a rule: ", KindNames())});
    return;
  }
  const RuleChecker checker(num_candidates, FieldPath(prefix, KindName(rule)), violations);
  std::visit([&checker](const auto& kind) { checker.CheckKind(kind); }, rule.kind);
}

bool HasNoEffect(const Adjust& adjust) {
  return !adjust.bias && !adjust.steer && !adjust.noise && adjust.ban.empty() &&
         adjust.force.empty();
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

std::string ValueText(const std::vector<uint32_t>& ids) {
  return absl::StrReplaceAll(DescribeIds(ids), {{", ", "+"}});
}

std::string ValueText(const std::vector<float>& values) {
  return absl::StrJoin(values, ":", [](std::string* out, float value) {
    char digits[32];
    out->append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
  });
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
