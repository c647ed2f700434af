#include "client/notation/plan_flags.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/notation/policy_spec.h"

namespace olmoe::client::notation {
namespace {

// The flags of one arm, then the arm.
class ArmBuilder {
 public:
  explicit ArmBuilder(std::string name) { arm_.set_arm_id(std::move(name)); }

  const std::string& name() const { return arm_.arm_id(); }

  // What is wrong with the flag, or nothing.
  std::string Add(const FlagValue& flag) {
    const std::vector<std::string> rules = RuleNames();
    if (std::find(rules.begin(), rules.end(), flag.name) != rules.end()) {
      rules_.push_back({flag.name, ArgumentsOfFlag(flag.name, flag.value)});
      if (rules_.size() == 1) Join(early_);
      return "";
    }
    if (flag.name == "weight") return SetWeight(flag.value);
    if (flag.name == "allow-explicit") {
      arm_.set_allow_explicit(true);
      return "";
    }
    if (flag.name == "policy-id") return Once(flag, &policy_id_);
    if (flag.name == "policy") return Once(flag, &policy_);
    if (flag.name == "router") return Once(flag, &router_);
    const std::string part = RulePart(flag);
    if (rules_.empty()) {
      early_ += part;
    } else {
      Join(part);
    }
    return "";
  }

  absl::StatusOr<v1::Arm> Build() && {
    if (!weight_set_) arm_.set_weight(1);
    absl::StatusOr<v1::RoutingPolicy> policy = Policy();
    if (!policy.ok()) return policy.status();
    if (policy_id_) policy->set_policy_id(*policy_id_);
    *arm_.mutable_policy() = *std::move(policy);
    return std::move(arm_);
  }

 private:
  // ",layers=0-3+7" of --layers 0-3,7.
  static std::string RulePart(const FlagValue& flag) {
    if (flag.name == "analyze" || flag.name == "decode") return absl::StrCat(",", flag.name);
    if (flag.name != "layers") {
      return absl::StrCat(",", flag.name, "=", AdjustmentOfFlag(flag.name, flag.value));
    }
    return absl::StrCat(",layers=", absl::StrReplaceAll(flag.value, {{",", "+"}, {" ", ""}}));
  }

  void Join(const std::string& part) { rules_.back().value += part; }

  std::string SetWeight(const std::string& value) {
    uint32_t weight = 0;
    if (value.find_first_not_of("0123456789") != std::string::npos ||
        !absl::SimpleAtoi(value, &weight)) {
      return absl::StrCat("--weight ", value, " is not a whole number from 0 on");
    }
    if (weight_set_) return absl::StrCat("--weight twice for arm ", name());
    weight_set_ = true;
    arm_.set_weight(weight);
    return "";
  }

  std::string Once(const FlagValue& flag, std::optional<std::string>* value) const {
    if (*value) return absl::StrCat("--", flag.name, " twice for arm ", name());
    *value = flag.value;
    return "";
  }

  absl::StatusOr<v1::RoutingPolicy> Policy() const {
    if (policy_) {
      if (rules_.empty() && early_.empty() && !router_) return ParsePolicySpec(*policy_);
      const std::string other = !rules_.empty()   ? rules_[0].name
                                : !early_.empty() ? early_.substr(1)
                                                  : "router";
      return absl::InvalidArgumentError(
          absl::StrCat("--policy and --", other, " for arm ", name(), ": one of the two"));
    }
    if (rules_.empty() && !early_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("--", early_.substr(1, early_.find('=') - 1),
                                                     " without a rule such as --top-k"));
    }
    v1::RoutingPolicy policy;
    for (const FlagValue& flag : rules_) {
      const auto rule = ParseRule(flag.name, flag.value);
      if (!rule.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("--", rule.status().message()));
      }
      if (auto status = AddRule(*rule, &policy); !status.ok()) return status;
    }
    if (router_) policy.set_router(*router_);
    policy.set_policy_id(DefaultPolicyId(policy));
    return policy;
  }

  v1::Arm arm_;
  bool weight_set_ = false;
  std::optional<std::string> policy_id_, policy_, router_;
  std::vector<FlagValue> rules_;  // the value has the parts that follow
  std::string early_;             // parts before the first rule
};

}  // namespace

absl::StatusOr<v1::RoutingPlan> PlanOfFlags(const std::vector<FlagValue>& flags) {
  std::vector<std::string> errors;
  const bool named = std::any_of(flags.begin(), flags.end(),
                                 [](const FlagValue& flag) { return flag.name == "arm"; });
  std::vector<ArmBuilder> builders;
  if (!named) builders.emplace_back("default");
  for (const FlagValue& flag : flags) {
    if (flag.name == "arm") {
      builders.emplace_back(flag.value);
    } else if (builders.empty()) {
      errors.push_back(absl::StrCat("--", flag.name, " before the first --arm"));
    } else if (std::string error = builders.back().Add(flag); !error.empty()) {
      errors.push_back(std::move(error));
    }
  }
  v1::RoutingPlan plan;
  for (ArmBuilder& builder : builders) {
    auto arm = std::move(builder).Build();
    if (arm.ok()) {
      *plan.add_arms() = *std::move(arm);
    } else {
      errors.push_back(std::string(arm.status().message()));
    }
  }
  if (errors.empty()) return plan;
  errors.erase(std::unique(errors.begin(), errors.end()), errors.end());  // of a flag thrice
  return absl::InvalidArgumentError(absl::StrJoin(errors, "; "));
}

}  // namespace olmoe::client::notation
