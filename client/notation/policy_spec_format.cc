#include <type_traits>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/notation/policy_spec.h"
#include "client/notation/policy_words.h"
#include "server/api/policy_proto.h"
#include "server/routing/rule_words.h"

namespace olmoe::client::notation {
namespace {

// `is_main`: it stands behind the name of the rule.
template <class Value>
std::string WordOf(const Value& value, bool is_main) {
  if constexpr (std::is_enum_v<Value>) return Dashed(routing::ValueText(value));
  // An expression may have what separates parts and rules.
  if constexpr (std::is_same_v<Value, std::string>) {
    if (is_main) return absl::StrCat("\"", value, "\"");
  }
  return routing::ValueText(value);
}

template <class Owner, class Value, class Range>
bool IsDefault(const routing::Field<Owner, Value, Range>& field, const Value& value) {
  return value == Owner().*field.member;
}

std::string FormatRule(const routing::Rule& rule) {
  if (std::holds_alternative<std::monostate>(rule.kind)) return "no rule";
  std::string text = RuleName(rule);
  bool is_main = true;  // the parameter that needs no key
  const auto append = [&](const auto& field, const auto& value) {
    const std::string before = is_main ? "=" : absl::StrCat(",", KeyOf(field), "=");
    const bool required = is_main && !IsOptional(value);
    if (required || !IsDefault(field, value)) {
      absl::StrAppend(&text, before, WordOf(value, is_main));
    }
    is_main = false;
  };
  std::visit([&](const auto& kind) { routing::ForEachField(kind, append); }, rule.kind);
  routing::ForEachField(rule, append);
  routing::ForEachGroupField(rule, append);
  return text;
}

template <typename Ruled>  // a policy or a layer override
void AppendRules(const Ruled& rules, const std::vector<uint32_t>& layers,
                 std::vector<std::string>* texts) {
  const auto append = [&](const v1::Rule& rule, RuleUse use) {
    texts->push_back(FormatRuleSpec({RuleOf(rule), layers, use}));
  };
  if (rules.has_apply()) append(rules.apply(), RuleUse::kApply);
  if (rules.has_analyze()) append(rules.analyze(), RuleUse::kAnalyze);
  if (rules.has_decode()) append(rules.decode(), RuleUse::kDecode);
}

// FNV-1a: the same on every machine and in every version.
uint32_t Hash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace

routing::Rule RuleOf(const v1::Rule& rule) {
  api::RequestErrors unknown_values;  // of a newer server: shown as the default
  return api::ToRule(rule, "", &unknown_values);
}

std::string FormatRuleSpec(const RuleSpec& spec) {
  std::string text = FormatRule(spec.rule);
  if (!spec.layers.empty()) {
    absl::StrAppend(
        &text, ",layers=", absl::StrReplaceAll(routing::DescribeIds(spec.layers), {{", ", "+"}}));
  }
  if (spec.use == RuleUse::kApply) return text;
  return absl::StrCat(text, ",", kRuleUses[static_cast<size_t>(spec.use)]);
}

std::string FormatPolicySpec(const v1::RoutingPolicy& policy) {
  std::vector<std::string> rules;
  const bool has_others = policy.has_analyze() || policy.has_decode();
  if (!policy.has_apply() && has_others) rules.push_back("native");
  AppendRules(policy, {}, &rules);
  for (const auto& some : policy.layer_overrides()) {
    AppendRules(some, {some.layers().begin(), some.layers().end()}, &rules);
  }
  if (rules.empty()) rules.push_back("native");
  if (!policy.router().empty()) rules.push_back(absl::StrCat("router=", policy.router()));
  return absl::StrJoin(rules, "/");
}

std::string FormatNamedPolicySpec(const v1::RoutingPolicy& policy) {
  return absl::StrCat(policy.policy_id(), "@", FormatPolicySpec(policy));
}

std::string DefaultPolicyId(const v1::RoutingPolicy& policy) {
  const std::string spec = FormatPolicySpec(policy);
  std::string name;
  for (const char c : absl::AsciiStrToLower(spec)) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      name.push_back(c);
    } else if (!name.empty() && name.back() != '-') {
      name.push_back('-');
    }
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  if (name.size() <= kMaxPolicyIdLength) return name;
  constexpr size_t kHashLength = 6;
  name.resize(kMaxPolicyIdLength - kHashLength - 1);
  while (name.back() == '-') name.pop_back();
  return absl::StrFormat("%s-%06x", name, Hash(spec) & 0xffffff);
}

}  // namespace olmoe::client::notation
