// What there is to know about each kind of rule but for its decision: its name, its
// words and its parameters. Everything else is made from these lists: the checks
// (rule.cc), the canonical text and with it the digest (canonical.cc), the labels of
// metrics, the words for people (rule_words.h), the messages of the API and olmoectl's
// notation, flags and help. A kind of RuleKind that has no description does not
// compile. CONTRIBUTING.md, "Add a rule", is the recipe.
#ifndef OLMOE_SERVER_ROUTING_RULE_FIELDS_H_
#define OLMOE_SERVER_ROUTING_RULE_FIELDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include "server/routing/rule.h"

namespace olmoe::routing {

// What a value may be. NaN is in no range.
struct Count {};     // 1..num_experts
struct Share {};     // > 0 and <= 1
struct Positive {};  // > 0 and finite
struct AnyValue {};  // what its type holds; the check of its part may say more

// A parameter. Where it is unset its default is that of the struct; a std::optional
// may stay unset.
template <class Owner, class Value, class Range>
struct Field {
  constexpr Field(const char* name, Value Owner::* member, Range range, const char* key = "",
                  const char* help = "")
      : name(name), member(member), range(range), key(key), help(help) {}

  static constexpr bool kIsPart = false;
  const char* name;  // in the proto, in the paths of errors and in the canonical text
  Value Owner::* member;
  Range range;
  const char* key;  // in olmoectl's notation; "": the name, with "-" for "_"
  const char* help;  // of a field of a group, for the help of olmoectl
};

// A group of parameters that several kinds share. It is no level of its own outside of
// C++: its fields are the rule's.
template <class Owner, class Value>
struct Part {
  constexpr explicit Part(Value Owner::* member) : member(member) {}

  static constexpr bool kIsPart = true;
  Value Owner::* member;
};

// Fields that are a message of their own on the wire, which may be missing: a std::optional, or
// a value that is missing where all its fields are at their defaults.
template <class Owner, class Value>
struct Group {
  constexpr Group(const char* name, Value Owner::* member) : name(name), member(member) {}

  const char* name;
  Value Owner::* member;
};

// Of a kind of rule:
//   kName    in the proto, in paths, labels and the canonical text; "bh"
//   kWords   how people call it, up to the value of its first field where it must have one
//   kHelp    what it keeps, for the help of olmoectl
//   kFields  its parameters, in the order of the proto; the first needs no key in the notation
// Of a part: kFields, and as kHelp what stands for them in the help. Of Rule: kFields and
// kGroups. Of a group: kFields, with keys that are unique in the rule, and kGroups.
template <class T>
struct Description;

template <>
struct Description<Bounds> {
  static constexpr const char* kHelp = "BOUNDS";
  static constexpr std::tuple kFields = {Field("min_k", &Bounds::min_k, Count(), "min"),
                                         Field("max_k", &Bounds::max_k, Count(), "max")};
};

template <>
struct Description<PValueSource> {
  static constexpr const char* kHelp = "P-VALUES";
  static constexpr std::tuple kFields = {
      Field("p_value", &PValueSource::kind, AnyValue()),
      Field("calibration_id", &PValueSource::calibration_id, AnyValue(), "calibration"),
      Field("temperature", &PValueSource::temperature, Positive())};
};

template <>
struct Description<std::monostate> {
  static constexpr const char* kName = "none";
  static constexpr const char* kWords = "no rule";
  static constexpr std::tuple<> kFields = {};
};

template <>
struct Description<TopK> {
  static constexpr const char* kName = "top_k";
  static constexpr const char* kWords = "top";
  static constexpr const char* kHelp = "the K experts that the router scores highest";
  static constexpr std::tuple kFields = {Field("k", &TopK::k, Count())};
};

template <>
struct Description<TopP> {
  static constexpr const char* kName = "top_p";
  static constexpr const char* kWords = "top-p";
  static constexpr const char* kHelp = "the fewest experts with probability P together";
  static constexpr std::tuple kFields = {Field("p", &TopP::p, Share()), Part(&TopP::bounds)};
};

template <>
struct Description<MinP> {
  static constexpr const char* kName = "min_p";
  static constexpr const char* kWords = "min-p";
  static constexpr const char* kHelp = "all with RATIO or more of the top probability";
  static constexpr std::tuple kFields = {Field("ratio", &MinP::ratio, Share()),
                                         Part(&MinP::bounds)};
};

template <>
struct Description<BenjaminiHochberg> {
  static constexpr const char* kName = "bh";
  static constexpr const char* kWords = "Benjamini-Hochberg, alpha";
  static constexpr const char* kHelp = "experts that pass Benjamini-Hochberg at ALPHA";
  static constexpr std::tuple kFields = {Field("alpha", &BenjaminiHochberg::alpha, Share()),
                                         Part(&BenjaminiHochberg::bounds),
                                         Part(&BenjaminiHochberg::p_values)};
};

template <>
struct Description<HigherCriticism> {
  static constexpr const char* kName = "hc";
  static constexpr const char* kWords = "higher criticism";
  static constexpr const char* kHelp = "experts by higher criticism of the top BETA";
  static constexpr std::tuple kFields = {Field("beta", &HigherCriticism::beta, Share()),
                                         Part(&HigherCriticism::bounds),
                                         Part(&HigherCriticism::p_values)};
};

template <>
struct Description<MaybePValues> {
  static constexpr const char* kHelp = "P-VALUE";
  static constexpr std::tuple kFields = {
      Field("calibration_id", &MaybePValues::calibration_id, AnyValue(), "calibration")};
};

template <>
struct Description<Expression> {
  static constexpr const char* kName = "expression";
  static constexpr const char* kKey = "keep";
  static constexpr const char* kWords = "experts where";
  static constexpr const char* kHelp = "where EXPR is not 0, such as p > 0.3 * p1";
  static constexpr std::tuple kFields = {Field("keep", &Expression::keep, AnyValue()),
                                         Part(&Expression::bounds), Part(&Expression::p_values)};
};

template <class... Kind>
constexpr bool AllDescribed(std::type_identity<std::variant<Kind...>>) {
  return (requires { Description<Kind>::kFields; } && ...);
}
static_assert(AllDescribed(std::type_identity<RuleKind>()), "a kind of rule has no Description");

template <>
struct Description<Bias> {
  static constexpr std::tuple kFields = {
      Field("scope", &Bias::scope, AnyValue(), "bias-scope", "whether the bias moves weights, too"),
      Field("values", &Bias::values, AnyValue(), "bias",
            "added to the logits, a number for each expert")};
  static constexpr std::tuple<> kGroups = {};
};

template <>
struct Description<Steer> {
  static constexpr std::tuple kFields = {
      Field("toward", &Steer::toward, AnyValue(), "",
            "give these experts the row's largest scores"),
      Field("away", &Steer::away, AnyValue(), "", "give these experts the row's smallest scores"),
      Field("epsilon", &Steer::epsilon, Positive(), "", "how far beyond the others steering goes")};
  static constexpr std::tuple<> kGroups = {};
};

template <>
struct Description<Noise> {
  static constexpr std::tuple kFields = {
      Field("tau", &Noise::tau, Positive(), "noise", "scale of Gumbel noise on the scores")};
  static constexpr std::tuple<> kGroups = {};
};

template <>
struct Description<Adjust> {
  static constexpr std::tuple kGroups = {
      Group("bias", &Adjust::bias), Group("steer", &Adjust::steer), Group("noise", &Adjust::noise)};
  static constexpr std::tuple kFields = {
      Field("ban", &Adjust::ban, AnyValue(), "", "never run these experts"),
      Field("ban_mass", &Adjust::ban_mass, AnyValue(), "", "what becomes of their probability"),
      Field("force", &Adjust::force, AnyValue(), "", "always run these experts, first")};
};

// What all kinds have.
template <>
struct Description<Rule> {
  static constexpr std::tuple kFields = {
      Field("weight_mode", &Rule::weight_mode, AnyValue(), "weights")};
  static constexpr std::tuple kGroups = {Group("adjust", &Rule::adjust)};
};

// The names of an enum's values, in the order of the enum. In the proto each has the
// number behind: 0 there is "unspecified", and means the first.
template <class Enum>
struct ValueNames;

template <>
struct ValueNames<PValueKind> {
  static constexpr std::array kNames = {"layer_cdf", "one_minus_prob"};
};

template <>
struct ValueNames<WeightMode> {
  static constexpr std::array kNames = {"model_default", "native", "sum_to_one",
                                        "match_top_k_mass"};
};

template <>
struct ValueNames<BiasScope> {
  static constexpr std::array kNames = {"select", "both"};
};

template <>
struct ValueNames<BanMass> {
  static constexpr std::array kNames = {"redistribute", "keep"};
};

// For each entry of the list of `owner`, which is a rule's kind, a part or a rule, calls
// `on_field(field, value)` or `on_part(value)`.
template <class Owner, class OnField, class OnPart>
constexpr void ForEachEntry(Owner& owner, const OnField& on_field, const OnPart& on_part) {
  const auto visit = [&]<class Entry>(const Entry& entry) {
    if constexpr (Entry::kIsPart) {
      on_part(owner.*entry.member);
    } else {
      on_field(entry, owner.*entry.member);
    }
  };
  std::apply([&](const auto&... entry) { (visit(entry), ...); },
             Description<std::remove_const_t<Owner>>::kFields);
}

// Calls `visit(field, value)` for each field, those of parts included.
template <class Owner, class Visit>
constexpr void ForEachField(Owner& owner, const Visit& visit) {
  ForEachEntry(owner, visit, [&](auto& part) { ForEachField(part, visit); });
}

// Calls `visit(group, value)` for each group of `owner`: a rule, or a group.
template <class Owner, class Visit>
constexpr void ForEachGroup(Owner& owner, const Visit& visit) {
  std::apply([&](const auto&... group) { (visit(group, owner.*group.member), ...); },
             Description<std::remove_const_t<Owner>>::kGroups);
}

// The fields of a group; null where it is missing.
template <class Value>
const Value* Present(const Value& group) {
  return group == Value() ? nullptr : &group;
}
template <class Value>
const Value* Present(const std::optional<Value>& group) {
  return group ? &*group : nullptr;
}

// Makes the group if it is missing.
template <class Value>
Value& MakePresent(Value& group) {
  return group;
}
template <class Value>
Value& MakePresent(std::optional<Value>& group) {
  return group ? *group : group.emplace();
}

// Calls `visit(field, value)` for each field of the groups that are not missing, those of groups
// in groups first.
template <class Owner, class Visit>
void ForEachGroupField(const Owner& owner, const Visit& visit) {
  ForEachGroup(owner, [&](const auto&, const auto& value) {
    if (const auto* group = Present(value)) {
      ForEachGroupField(*group, visit);
      ForEachField(*group, visit);
    }
  });
}

// Calls `visit(kind)` with a value of each kind, its parameters at their defaults.
template <class Visit>
constexpr void ForEachKind(const Visit& visit) {
  const auto each = [&]<class... Kind>(std::type_identity<std::variant<std::monostate, Kind...>>) {
    (visit(Kind()), ...);
  };
  each(std::type_identity<RuleKind>());
}

inline const char* KindName(const Rule& rule) {
  return std::visit([]<class Kind>(const Kind&) { return Description<Kind>::kName; }, rule.kind);
}

// The kind of that name, its parameters at their defaults; monostate where there is none.
RuleKind MakeKind(std::string_view name);

// The part of that type; null where the rule's kind has none.
template <class Wanted>
const Wanted* FindPart(const Rule& rule) {
  return std::visit(
      [](const auto& kind) {
        const Wanted* found = nullptr;
        const auto no_part = [](const auto&, const auto&) {};
        ForEachEntry(kind, no_part, [&found]<class Part>(const Part& part) {
          if constexpr (std::is_same_v<Part, Wanted>) found = &part;
        });
        return found;
      },
      rule.kind);
}

template <class Wanted>
Wanted* FindPart(Rule* rule) {
  return const_cast<Wanted*>(FindPart<Wanted>(*rule));
}

// The calibration without which the rule cannot decide; null where it needs none.
inline const std::string* NeededCalibration(const Rule& rule) {
  if (const MaybePValues* maybe = FindPart<MaybePValues>(rule)) {
    return maybe->calibration_id.empty() ? nullptr : &maybe->calibration_id;
  }
  const PValueSource* p_values = FindPart<PValueSource>(rule);
  if (p_values == nullptr || p_values->kind != PValueKind::kLayerCdf) return nullptr;
  return &p_values->calibration_id;
}

// The shortest text that reads back as the value; "" of what is unset.
std::string ValueText(uint32_t value);
std::string ValueText(double value);
inline std::string ValueText(const std::string& value) { return value; }
std::string ValueText(const std::vector<uint32_t>& ids);  // "0-3+7"
std::string ValueText(const std::vector<float>& values);  // "0.5:0:-1e-05"
template <class Enum>
  requires std::is_enum_v<Enum>
std::string ValueText(Enum value) {
  return ValueNames<Enum>::kNames[static_cast<size_t>(value)];
}
template <class Value>
std::string ValueText(const std::optional<Value>& value) {
  return value ? ValueText(*value) : "";
}

// That of the parameter of that name; "" where the rule has none or it is unset.
std::string ParameterText(const Rule& rule, std::string_view name);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_RULE_FIELDS_H_
