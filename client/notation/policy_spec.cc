#include "client/notation/policy_spec.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/notation/number_list.h"
#include "client/notation/policy_words.h"
#include "client/notation/text.h"
#include "server/api/policy_proto.h"
#include "server/util/utf8.h"

namespace olmoe::client::notation {
namespace {

absl::string_view Wrap(std::string_view text) { return {text.data(), text.size()}; }

bool IsQuoted(absl::string_view text) {
  return text.size() >= 2 && text.front() == '"' && text.back() == '"';
}

// ParseValue sets the value, or returns what is wrong with the text.
std::string ParseValue(absl::string_view text, double* value) {
  return absl::SimpleAtod(text, value) ? "" : "is not a number";
}
std::string ParseValue(absl::string_view text, uint32_t* value) {
  const bool digits = text.find_first_not_of("0123456789") == absl::string_view::npos;
  return digits && absl::SimpleAtoi(text, value) ? "" : "is not a number of experts";
}
std::string ParseValue(absl::string_view text, std::string* value) {
  *value = std::string(IsQuoted(text) ? text.substr(1, text.size() - 2) : text);
  return value->empty() ? "is empty" : "";
}
std::string ParseValue(absl::string_view text, std::vector<uint32_t>* ids) {
  auto parsed = ParseExperts({text.data(), text.size()});
  if (!parsed.ok()) return "is not a list of experts such as 0-3+7";
  *ids = *std::move(parsed);
  return "";
}
std::string ParseValue(absl::string_view text, std::vector<float>* values) {
  for (const absl::string_view part : absl::StrSplit(text, ':')) {
    if (!absl::SimpleAtof(part, &values->emplace_back())) return "is not numbers such as 0.5:0:-1";
  }
  return "";
}
template <class Enum>
  requires std::is_enum_v<Enum>
std::string ParseValue(absl::string_view text, Enum* value) {
  const std::vector<std::string> words = WordsOf<Enum>();
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) return absl::StrCat("is not one of ", absl::StrJoin(words, ", "));
  *value = static_cast<Enum>(found - words.begin());
  return "";
}
template <class Enum>
  requires std::is_enum_v<Enum>
std::string ParseValue(absl::string_view text, std::optional<Enum>* value) {
  return ParseValue(text, &value->emplace());
}
// The wire would turn a 0 into the default instead of refusing it.
template <class Value>
std::string ParseValue(absl::string_view text, std::optional<Value>* value) {
  std::string error = ParseValue(text, &value->emplace());
  if (error.empty() && **value == 0) error = "is not above 0; leave it out for the default";
  return error;
}

// Sets the parameter of that key; nullopt where `owner`, a rule or its kind, has none.
template <class Owner>
std::optional<std::string> SetField(absl::string_view key, absl::string_view text, Owner& owner) {
  std::optional<std::string> error;
  routing::ForEachField(owner, [&](const auto& field, auto& value) {
    if (KeyOf(field) == key) error = ParseValue(text, &value);
  });
  return error;
}

// The same for the fields of its groups, which are made where they are missing.
template <class Owner>
std::optional<std::string> SetGroupField(absl::string_view key, absl::string_view text,
                                         Owner& owner) {
  std::optional<std::string> error;
  routing::ForEachGroup(owner, [&](const auto&, auto& value) {
    auto changed = value;
    auto& group = routing::MakePresent(changed);
    std::optional<std::string> found = SetField(key, text, group);
    if (!found) found = SetGroupField(key, text, group);
    if (!found) return;
    value = std::move(changed);
    error = std::move(found);
  });
  return error;
}

// The parameter that needs no key.
struct MainParameter {
  std::string key;
  bool required = false;
  bool is_text = false;
  std::string example;  // of its value
};

std::string ExampleOf(routing::Count) { return "4"; }
std::string ExampleOf(routing::Share) { return "0.4"; }
std::string ExampleOf(routing::Positive) { return "1"; }
std::string ExampleOf(routing::AnyValue) { return "..."; }

MainParameter MainOf(const routing::Rule& rule) {
  std::optional<MainParameter> main;
  std::visit(
      [&main](const auto& kind) {
        routing::ForEachField(kind, [&main](const auto& field, const auto& value) {
          constexpr bool kIsText = std::is_same_v<decltype(value), const std::string&>;
          if (!main) main = {KeyOf(field), !IsOptional(value), kIsText, ExampleOf(field.range)};
        });
      },
      rule.kind);
  return main.value_or(MainParameter());
}

// Sets the parts of one rule and collects what is wrong with them.
class RuleParser {
 public:
  explicit RuleParser(routing::RuleKind kind)
      : spec_{.rule = {std::move(kind)}, .layers = {}, .use = RuleUse::kApply},
        name_(RuleName(spec_.rule)),
        main_(MainOf(spec_.rule)) {}

  // `arguments`: what stands behind the name, in parts.
  absl::StatusOr<RuleSpec> Parse(absl::string_view arguments) {
    if (!arguments.empty()) {
      bool first = true;
      for (const absl::string_view part : SplitUnquoted(arguments, ',')) {
        AddPart(absl::StripAsciiWhitespace(part), first);
        first = false;
      }
    }
    if (main_.required && !Seen(main_.key)) {
      errors_.push_back(absl::StrCat(main_.key, " is missing, as in ", name_, "=", main_.example));
    }
    if (errors_.empty()) return std::move(spec_);
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", absl::StrJoin(errors_, "; ")));
  }

 private:
  bool Seen(const std::string& key) const {
    return std::find(seen_.begin(), seen_.end(), key) != seen_.end();
  }

  void AddPart(absl::string_view part, bool first) {
    const std::pair<absl::string_view, absl::string_view> split =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    const bool has_value = absl::StrContains(part, '=');
    std::string key(absl::StripAsciiWhitespace(split.first));
    absl::string_view value = absl::StripAsciiWhitespace(split.second);
    const bool is_text = main_.is_text && !absl::StartsWith(part, main_.key);
    if (first && (is_text || (!has_value && !UseOf(key)))) {
      value = part;
      key = main_.key;
    }
    if (Seen(key)) {
      errors_.push_back(absl::StrCat(key, " is given twice"));
      return;
    }
    seen_.push_back(key);
    if (const std::string error = Set(key, value); !error.empty()) {
      errors_.push_back(absl::StrCat(key, UseOf(key) ? "" : "=", value, " ", error));
    }
  }

  // What is wrong with the part, or nothing.
  std::string Set(const std::string& key, absl::string_view value) {
    if (const auto use = UseOf(key)) return SetUse(*use, value);
    if (key == "layers") return SetLayers(value);
    std::optional<std::string> error = SetField(key, value, spec_.rule);
    if (!error) {
      error = std::visit([&](auto& kind) { return SetField(key, value, kind); }, spec_.rule.kind);
    }
    if (!error) error = SetGroupField(key, value, spec_.rule);
    if (error) return *error;
    return absl::StrCat("is not a key of ", name_, "; keys: ", absl::StrJoin(Keys(), ", "));
  }

  std::vector<std::string> Keys() const {
    std::vector<std::string> keys;
    const auto add = [&keys](const auto& field, const auto&) { keys.push_back(KeyOf(field)); };
    std::visit([&](const auto& kind) { routing::ForEachField(kind, add); }, spec_.rule.kind);
    routing::ForEachField(spec_.rule, add);
    ForEachPossibleField(spec_.rule, add);
    keys.insert(keys.end(), {"layers", "analyze", "decode"});
    return keys;
  }

  // "analyze" and "decode"; a rule to apply says nothing.
  static std::optional<RuleUse> UseOf(absl::string_view key) {
    for (const RuleUse use : {RuleUse::kAnalyze, RuleUse::kDecode}) {
      if (key == kRuleUses[static_cast<size_t>(use)]) return use;
    }
    return std::nullopt;
  }

  std::string SetUse(RuleUse use, absl::string_view value) {
    if (!value.empty()) return "takes no value";
    if (spec_.use != RuleUse::kApply) return "is given beside another use of the rule";
    spec_.use = use;
    return "";
  }

  // With "+" in place of the comma, which separates the keys.
  std::string SetLayers(absl::string_view value) {
    auto layers = ParseLayers(absl::StrReplaceAll(value, {{"+", ","}}));
    if (!layers.ok()) return "is not a list of layers such as 0-3+7";
    spec_.layers = *std::move(layers);
    return "";
  }

  RuleSpec spec_;
  const std::string name_;  // "bh"
  const MainParameter main_;
  std::vector<std::string> seen_;
  std::vector<std::string> errors_;
};

template <typename Ruled>
bool HasRule(RuleUse use, const Ruled& rules) {
  switch (use) {
    case RuleUse::kApply: return rules.has_apply();
    case RuleUse::kAnalyze: return rules.has_analyze();
    case RuleUse::kDecode: return rules.has_decode();
  }
  return false;
}

template <typename Ruled>
absl::Status SetRule(const RuleSpec& spec, Ruled* rules) {
  static constexpr std::array kWhat = {"", "to analyze ", "for decode "};
  if (HasRule(spec.use, *rules)) {
    return absl::InvalidArgumentError(
        absl::StrCat(FormatRuleSpec(spec), ": these layers have a rule ",
                     kWhat[static_cast<size_t>(spec.use)], "already"));
  }
  const v1::Rule rule = api::ToProto(spec.rule);
  switch (spec.use) {
    case RuleUse::kApply: *rules->mutable_apply() = rule; break;
    case RuleUse::kAnalyze: *rules->mutable_analyze() = rule; break;
    case RuleUse::kDecode: *rules->mutable_decode() = rule; break;
  }
  return absl::OkStatus();
}

absl::StatusOr<RuleSpec> ParseNamedRule(absl::string_view text) {
  const size_t end = text.find_first_of("=:,");
  const absl::string_view name = absl::StripAsciiWhitespace(text.substr(0, end));
  const absl::string_view rest =
      end == absl::string_view::npos ? absl::string_view() : text.substr(end + 1);
  return ParseRule({name.data(), name.size()}, {rest.data(), rest.size()});
}

// Whether the part names a router instead of a rule: "router=NAME".
bool IsRouter(absl::string_view part) {
  return absl::StripAsciiWhitespace(part.substr(0, part.find('='))) == "router";
}

absl::Status SetRouter(absl::string_view part, v1::RoutingPolicy* policy) {
  const size_t equals = part.find('=');
  const absl::string_view name = absl::StripAsciiWhitespace(
      equals == absl::string_view::npos ? absl::string_view() : part.substr(equals + 1));
  if (name.empty()) return absl::InvalidArgumentError("router: no name, as in router=tuned");
  if (!policy->router().empty()) return absl::InvalidArgumentError("router: is given twice");
  if (!IsWellFormedUtf8({name.data(), name.size()})) {
    return absl::InvalidArgumentError("router: not UTF-8");
  }
  policy->set_router(std::string(name));
  return absl::OkStatus();
}

absl::Status CheckName(absl::string_view name) {
  const bool valid =
      !name.empty() && name.size() <= kMaxPolicyIdLength && name[0] != '-' &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == absl::string_view::npos;
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is not a name: 1 to 32 of a-z, 0-9 and -, not - first"));
}

}  // namespace

std::vector<std::string> RuleNames() {
  std::vector<std::string> names;
  routing::ForEachKind([&](const auto& kind) { names.push_back(RuleName({.kind = kind})); });
  return names;
}

std::string ArgumentsOfFlag(std::string_view name, const std::string& value) {
  bool is_text = false;
  routing::ForEachKind([&](const auto& kind) {
    const routing::Rule rule{.kind = kind};
    if (RuleName(rule) == name) is_text = MainOf(rule).is_text;
  });
  return is_text && !IsQuoted(value) ? absl::StrCat("\"", value, "\"") : value;
}

std::string AdjustmentOfFlag(std::string_view name, const std::string& value) {
  bool is_ids = false;
  ForEachPossibleField(routing::Rule(), [&](const auto& field, const auto& of_field) {
    constexpr bool kIsIds = std::is_same_v<decltype(of_field), const std::vector<uint32_t>&>;
    if (KeyOf(field) == name) is_ids = kIsIds;
  });
  return is_ids ? absl::StrReplaceAll(value, {{",", "+"}, {" ", ""}}) : value;
}

absl::StatusOr<RuleSpec> ParseRule(std::string_view name, std::string_view arguments) {
  routing::RuleKind found;
  routing::ForEachKind([&](const auto& kind) {
    if (RuleName({.kind = kind}) == name) found = kind;
  });
  if (std::holds_alternative<std::monostate>(found)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", Wrap(name), "\" is not a rule; rules: ", absl::StrJoin(RuleNames(), ", ")));
  }
  if (!IsWellFormedUtf8(arguments)) {
    return absl::InvalidArgumentError(absl::StrCat(Wrap(name), ": not UTF-8"));
  }
  return RuleParser(std::move(found)).Parse(Wrap(arguments));
}

absl::Status AddRule(const RuleSpec& spec, v1::RoutingPolicy* policy) {
  if (spec.layers.empty()) return SetRule(spec, policy);
  for (v1::LayerOverride& same : *policy->mutable_layer_overrides()) {
    if (std::equal(same.layers().begin(), same.layers().end(), spec.layers.begin(),
                   spec.layers.end())) {
      return SetRule(spec, &same);
    }
  }
  v1::LayerOverride* some = policy->add_layer_overrides();
  some->mutable_layers()->Add(spec.layers.begin(), spec.layers.end());
  return SetRule(spec, some);
}

absl::StatusOr<v1::RoutingPolicy> ParsePolicySpec(std::string_view spec) {
  absl::string_view rules = absl::StripAsciiWhitespace(Wrap(spec));
  v1::RoutingPolicy policy;
  if (const size_t at = rules.find('@'); at < rules.find('"')) {
    if (auto status = CheckName(rules.substr(0, at)); !status.ok()) return status;
    policy.set_policy_id(std::string(rules.substr(0, at)));
    rules.remove_prefix(at + 1);
  }
  std::vector<std::string> errors;
  bool first = true;
  for (const absl::string_view part : SplitUnquoted(rules, '/')) {
    const bool native = first && absl::StripAsciiWhitespace(part) == "native";
    first = false;
    if (native) continue;
    if (IsRouter(part)) {
      const absl::Status status = SetRouter(part, &policy);
      if (!status.ok()) errors.push_back(std::string(status.message()));
      continue;
    }
    const auto rule = ParseNamedRule(part);
    const absl::Status status = rule.ok() ? AddRule(*rule, &policy) : rule.status();
    if (!status.ok()) errors.push_back(std::string(status.message()));
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "; "));
  if (policy.policy_id().empty()) policy.set_policy_id(DefaultPolicyId(policy));
  return policy;
}

}  // namespace olmoe::client::notation
