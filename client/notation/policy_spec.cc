#include "client/notation/policy_spec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/notation/number_list.h"
#include "client/notation/policy_words.h"
#include "server/util/utf8.h"

namespace olmoe::client::notation {

const char kPolicySpecHelp[] =
    "  SPEC is [NAME@]native or [NAME@]RULE[/RULE]...; a RULE is one of\n"
    "    top-k=K\n"
    "    top-p=P[,min=K][,max=K]        smallest set with probability mass P\n"
    "    min-p=RATIO[,min=K][,max=K]    at least RATIO times the largest probability\n"
    "    bh=ALPHA[,min=K][,max=K][,calibration=NAME][,p-value=layer-cdf|one-minus-prob]\n"
    "      [,temperature=T]             Benjamini-Hochberg\n"
    "    hc[=BETA][,...]                higher criticism, keys as bh\n"
    "  each with [,weights=model-default|native|sum-to-one|match-top-k-mass]\n"
    "  [,layers=0-3+7] (all without) [,analyze] (counted, not run). bh:alpha=0.4 is bh=0.4.\n"
    "  Examples: top-k=4   wide@top-p=0.7,max=16   top-k=2,layers=0-3/top-k=16,layers=12-15\n"
    "            native/bh=0.12,max=32,calibration=wiki-t8,analyze\n";

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::string_view Wrap(std::string_view text) { return {text.data(), text.size()}; }

const FieldDescriptor* FindKind(absl::string_view name) {
  for (int i = 0; i < RuleKinds().field_count(); ++i) {
    if (KeyOf(*RuleKinds().field(i)) == name) return RuleKinds().field(i);
  }
  return nullptr;
}

// Sets the parts of one rule and collects what is wrong with them.
class RuleParser {
 public:
  explicit RuleParser(const FieldDescriptor& kind)
      : kind_(kind),
        parameters_(spec_.rule.GetReflection()->MutableMessage(&spec_.rule, &kind)) {}

  // `arguments`: what stands behind the name, in parts.
  absl::StatusOr<RuleSpec> Parse(absl::string_view arguments) {
    if (!arguments.empty()) {
      bool first = true;
      for (const absl::string_view part : absl::StrSplit(arguments, ',')) {
        AddPart(absl::StripAsciiWhitespace(part), first);
        first = false;
      }
    }
    if (Required() && !Seen(KeyOf(Main()))) {
      errors_.push_back(absl::StrCat(KeyOf(Main()), " is missing, as in ", KeyOf(kind_), "=",
                                     kind_.name() == "top_k" ? "4" : "0.4"));
    }
    if (errors_.empty()) return std::move(spec_);
    return absl::InvalidArgumentError(
        absl::StrCat(KeyOf(kind_), ": ", absl::StrJoin(errors_, "; ")));
  }

 private:
  const Descriptor& Type() const { return *kind_.message_type(); }
  // The parameter that needs no key.
  const FieldDescriptor& Main() const { return *Type().field(0); }
  // Without its beta, hc searches on its own.
  bool Required() const { return kind_.name() != "hc"; }
  bool Seen(const std::string& key) const {
    return std::find(seen_.begin(), seen_.end(), key) != seen_.end();
  }

  void AddPart(absl::string_view part, bool first) {
    const std::pair<absl::string_view, absl::string_view> split =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    const bool has_value = absl::StrContains(part, '=');
    std::string key(absl::StripAsciiWhitespace(split.first));
    absl::string_view value = absl::StripAsciiWhitespace(split.second);
    if (first && !has_value && key != "analyze") {
      value = split.first;
      key = KeyOf(Main());
    }
    if (Seen(key)) {
      errors_.push_back(absl::StrCat(key, " is given twice"));
      return;
    }
    seen_.push_back(key);
    if (const std::string error = Set(key, value); !error.empty()) {
      errors_.push_back(absl::StrCat(key, key == "analyze" ? "" : "=", value, " ", error));
    }
  }

  // What is wrong with the part, or nothing.
  std::string Set(const std::string& key, absl::string_view value) {
    if (key == "analyze") {
      spec_.analyze = true;
      return value.empty() ? "" : "takes no value";
    }
    if (key == "layers") return SetLayers(value);
    if (key == "weights") return SetField(&spec_.rule, WeightField(), value);
    for (int i = 0; i < Type().field_count(); ++i) {
      if (KeyOf(*Type().field(i)) == key) return SetField(parameters_, *Type().field(i), value);
    }
    return absl::StrCat("is no key of ", KeyOf(kind_), "; keys: ", absl::StrJoin(Keys(), ", "));
  }

  std::vector<std::string> Keys() const {
    std::vector<std::string> keys;
    for (int i = 0; i < Type().field_count(); ++i) keys.push_back(KeyOf(*Type().field(i)));
    for (const char* common : {"weights", "layers", "analyze"}) keys.push_back(common);
    return keys;
  }

  // With "+" in place of the comma, which separates the keys.
  std::string SetLayers(absl::string_view value) {
    auto layers = ParseLayers(absl::StrReplaceAll(value, {{"+", ","}}));
    if (!layers.ok()) return "is not a list of layers such as 0-3+7";
    spec_.layers = *std::move(layers);
    return "";
  }

  std::string SetField(Message* message, const FieldDescriptor& field, absl::string_view value) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return SetDouble(message, field, value);
      case FieldDescriptor::CPPTYPE_ENUM:
        return SetEnum(message, field, value);
      case FieldDescriptor::CPPTYPE_UINT32:
        return SetCount(message, field, value);
      default:
        if (value.empty()) return "is empty";
        message->GetReflection()->SetString(message, &field, std::string(value));
        return "";
    }
  }

  std::string SetDouble(Message* message, const FieldDescriptor& field, absl::string_view value) {
    double number = 0;
    if (!absl::SimpleAtod(value, &number)) return "is not a number";
    if (number == 0 && ZeroIsUnset(field)) return "is not above 0; leave it out for the default";
    message->GetReflection()->SetDouble(message, &field, number);
    return "";
  }

  std::string SetCount(Message* message, const FieldDescriptor& field, absl::string_view value) {
    uint32_t number = 0;
    if (value.find_first_not_of("0123456789") != absl::string_view::npos ||
        !absl::SimpleAtoi(value, &number)) {
      return "is not a number of experts";
    }
    if (number == 0 && ZeroIsUnset(field)) return "is not above 0; leave it out for the default";
    message->GetReflection()->SetUInt32(message, &field, number);
    return "";
  }

  std::string SetEnum(Message* message, const FieldDescriptor& field, absl::string_view value) {
    std::vector<std::string> words;
    for (int i = 1; i < field.enum_type()->value_count(); ++i) {
      const EnumValueDescriptor& candidate = *field.enum_type()->value(i);
      words.push_back(EnumWord(candidate));
      if (words.back() != value) continue;
      message->GetReflection()->SetEnum(message, &field, &candidate);
      return "";
    }
    return absl::StrCat("is not one of ", absl::StrJoin(words, ", "));
  }

  // The wire would turn this 0 into the default instead of refusing it.
  bool ZeroIsUnset(const FieldDescriptor& field) const {
    return !field.has_presence() && !(&field == &Main() && Required());
  }

  const FieldDescriptor& kind_;
  RuleSpec spec_;
  Message* const parameters_;  // of spec_.rule
  std::vector<std::string> seen_;
  std::vector<std::string> errors_;
};

template <typename Ruled>
absl::Status SetRule(const RuleSpec& spec, Ruled* rules) {
  if (spec.analyze ? rules->has_analyze() : rules->has_apply()) {
    return absl::InvalidArgumentError(absl::StrCat(
        FormatRuleSpec(spec), ": these layers have a rule ",
        spec.analyze ? "to analyze " : "", "already"));
  }
  *(spec.analyze ? rules->mutable_analyze() : rules->mutable_apply()) = spec.rule;
  return absl::OkStatus();
}

absl::StatusOr<RuleSpec> ParseNamedRule(absl::string_view text) {
  const size_t end = text.find_first_of("=:,");
  const absl::string_view name = absl::StripAsciiWhitespace(text.substr(0, end));
  const absl::string_view rest =
      end == absl::string_view::npos ? absl::string_view() : text.substr(end + 1);
  return ParseRule({name.data(), name.size()}, {rest.data(), rest.size()});
}

absl::Status CheckName(absl::string_view name) {
  const bool valid = !name.empty() && name.size() <= kMaxPolicyIdLength && name[0] != '-' &&
                     name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") ==
                         absl::string_view::npos;
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is not a name: 1 to 32 of a-z, 0-9 and -, not - first"));
}

}  // namespace

std::vector<std::string> RuleNames() {
  std::vector<std::string> names;
  for (int i = 0; i < RuleKinds().field_count(); ++i) names.push_back(KeyOf(*RuleKinds().field(i)));
  return names;
}

absl::StatusOr<RuleSpec> ParseRule(std::string_view name, std::string_view arguments) {
  const FieldDescriptor* kind = FindKind(Wrap(name));
  if (kind == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("\"", Wrap(name), "\" is not a rule; rules: ",
                                                   absl::StrJoin(RuleNames(), ", ")));
  }
  if (!IsWellFormedUtf8(arguments)) {
    return absl::InvalidArgumentError(absl::StrCat(Wrap(name), ": not UTF-8"));
  }
  return RuleParser(*kind).Parse(Wrap(arguments));
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
  if (const size_t at = rules.find('@'); at != absl::string_view::npos) {
    if (auto status = CheckName(rules.substr(0, at)); !status.ok()) return status;
    policy.set_policy_id(std::string(rules.substr(0, at)));
    rules.remove_prefix(at + 1);
  }
  std::vector<std::string> errors;
  bool first = true;
  for (const absl::string_view part : absl::StrSplit(rules, '/')) {
    const bool native = first && absl::StripAsciiWhitespace(part) == "native";
    first = false;
    if (native) continue;
    const auto rule = ParseNamedRule(part);
    const absl::Status status = rule.ok() ? AddRule(*rule, &policy) : rule.status();
    if (!status.ok()) errors.push_back(std::string(status.message()));
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "; "));
  if (policy.policy_id().empty()) policy.set_policy_id(DefaultPolicyId(policy));
  return policy;
}

}  // namespace olmoe::client::notation
