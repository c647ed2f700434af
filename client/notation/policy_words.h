// The words of policy specs: those of server/routing/rule_fields.h, with "-" for "_".
#ifndef OLMOE_CLIENT_NOTATION_POLICY_WORDS_H_
#define OLMOE_CLIENT_NOTATION_POLICY_WORDS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_replace.h"
#include "server/routing/rule_fields.h"

namespace olmoe::client::notation {

inline constexpr size_t kMaxPolicyIdLength = 32;

inline std::string Dashed(const std::string& name) {
  return absl::StrReplaceAll(name, {{"_", "-"}});
}

// "bh", "top-k"; "keep" of an expression
inline std::string RuleName(const routing::Rule& rule) {
  return std::visit(
      []<class Kind>(const Kind&) -> std::string {
        if constexpr (requires { routing::Description<Kind>::kKey; }) {
          return routing::Description<Kind>::kKey;
        } else {
          return Dashed(routing::Description<Kind>::kName);
        }
      },
      rule.kind);
}

// "max" of max_k, "p-value" of p_value
template <class Field>
std::string KeyOf(const Field& field) {
  return *field.key != '\0' ? field.key : Dashed(field.name);
}

// "native", "sum-to-one", ...: the values of an enum, in its order.
template <class Enum>
std::vector<std::string> WordsOf() {
  std::vector<std::string> words;
  for (const char* name : routing::ValueNames<Enum>::kNames) words.push_back(Dashed(name));
  return words;
}

// Calls `visit(field, value)` for each field of the groups of `owner`, those that are missing at
// their defaults.
template <class Owner, class Visit>
void ForEachPossibleField(Owner owner, const Visit& visit) {
  routing::ForEachGroup(owner, [&visit](const auto&, auto& value) {
    const auto& group = routing::MakePresent(value);
    ForEachPossibleField(group, visit);
    routing::ForEachField(group, visit);
  });
}

// A parameter that a rule may leave unset; the first of others is required.
template <class Value>
constexpr bool IsOptional(const Value&) {
  return false;
}
template <class Value>
constexpr bool IsOptional(const std::optional<Value>&) {
  return true;
}

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_POLICY_WORDS_H_
