// The text form of rules and policies: what `patch`, `eval --policy` and `route
// --policy` take, and what tables print.
#ifndef OLMOE_CLIENT_NOTATION_POLICY_SPEC_H_
#define OLMOE_CLIENT_NOTATION_POLICY_SPEC_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/routing.pb.h"
#include "server/routing/rule.h"

namespace olmoe::client::notation {

// The grammar for --help; every line is indented by two spaces.
std::string PolicySpecHelp();

// "top-k", "top-p", ...: the kinds of rules.
std::vector<std::string> RuleNames();

// A kind of rule as a flag: "top-p", "P[,BOUNDS]", "the smallest set with ...".
struct RuleFlag {
  std::string name, value, help;
};
std::vector<RuleFlag> RuleFlags();

// What a rule is for.
enum class RuleUse {
  kApply,    // it runs
  kAnalyze,  // counted, not run
  kDecode,   // it runs for tokens beyond the prompt
};
inline constexpr std::array kRuleUses = {"apply", "analyze", "decode"};

// A rule and where it goes.
struct RuleSpec {
  routing::Rule rule;
  std::vector<uint32_t> layers;  // ascending; empty = all
  RuleUse use = RuleUse::kApply;
};

// An adjustment of a rule as a flag: "ban", "IDS", "never run ...".
std::vector<RuleFlag> AdjustFlags();

// What stands behind the name of a rule: `arguments` of rule "bh" may be "0.4,max=16"
// or "alpha=0.4,max=16". The first may be the bare value of the rule's own parameter. What has
// commas or slashes of its own, as an expression may, stands in double quotes.
// Only the form is checked, not the range: one place, the server or the rule
// library, says what is valid. INVALID_ARGUMENT names every part that is wrong, and
// for an unknown key those that exist.
absl::StatusOr<RuleSpec> ParseRule(std::string_view name, std::string_view arguments);

// The value of flag --NAME as arguments of that rule: an expression gets quotes.
std::string ArgumentsOfFlag(std::string_view name, const std::string& value);
// That of an adjustment, in the notation: ids may be separated by commas.
std::string AdjustmentOfFlag(std::string_view name, const std::string& value);

// Puts the rule into the policy, as its own or as an override of layers.
// INVALID_ARGUMENT where the policy has one for the same layers.
absl::Status AddRule(const RuleSpec& spec, v1::RoutingPolicy* policy);

// "[NAME@]native" or "[NAME@]RULE[/RULE]...", either with "/router=ROUTER". Without a name the policy
// is called after its rules (DefaultPolicyId).
absl::StatusOr<v1::RoutingPolicy> ParsePolicySpec(std::string_view spec);

// The inverse, without the name: short, and the same text for the same policy.
// What is at its default is left out.
std::string FormatRuleSpec(const RuleSpec& spec);
std::string FormatPolicySpec(const v1::RoutingPolicy& policy);
// The same with the policy's name: "thin@top-k=4".
std::string FormatNamedPolicySpec(const v1::RoutingPolicy& policy);

// As ParseRule would give it. A value that only a newer server knows is the default.
routing::Rule RuleOf(const v1::Rule& rule);

// "top-k-4" for top-k=4. Too long for a name: cut, with a hash of the whole text.
std::string DefaultPolicyId(const v1::RoutingPolicy& policy);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_POLICY_SPEC_H_
