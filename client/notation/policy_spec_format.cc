#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/notation/number_list.h"
#include "client/notation/policy_spec.h"
#include "client/notation/policy_words.h"

namespace olmoe::client::notation {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The shortest decimal that reads back as the same double.
std::string Shortest(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  return std::string(buffer, end);
}

std::string Value(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE: return Shortest(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_ENUM: return EnumWord(*reflection.GetEnum(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    default: return reflection.GetString(message, &field);
  }
}

// True where leaving the field out means the same: enums at their first real value
// and a temperature of 1.
bool IsDefault(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (field.has_presence() && !reflection.HasField(message, &field)) return true;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM: return reflection.GetEnumValue(message, &field) <= 1;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field) == (field.has_presence() ? 1 : 0);
    case FieldDescriptor::CPPTYPE_UINT32: return reflection.GetUInt32(message, &field) == 0;
    default: return reflection.GetString(message, &field).empty();
  }
}

template <typename Ruled>  // a policy or a layer override
void AppendRules(const Ruled& rules, const std::vector<uint32_t>& layers,
                 std::vector<std::string>* texts) {
  if (rules.has_apply()) texts->push_back(FormatRuleSpec({rules.apply(), layers, false}));
  if (rules.has_analyze()) texts->push_back(FormatRuleSpec({rules.analyze(), layers, true}));
}

// FNV-1a: the same on every machine and in every version.
uint32_t Hash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace

std::string FormatRuleSpec(const v1::Rule& rule) {
  if (rule.kind_case() == v1::Rule::KIND_NOT_SET) return "no rule";
  const FieldDescriptor& kind = *v1::Rule::descriptor()->FindFieldByNumber(rule.kind_case());
  const Message& parameters = rule.GetReflection()->GetMessage(rule, &kind);
  std::string text = KeyOf(kind);
  const FieldDescriptor& main = *kind.message_type()->field(0);
  if (kind.name() != "hc" || !IsDefault(parameters, main)) {
    absl::StrAppend(&text, "=", Value(parameters, main));
  }
  for (int i = 1; i < kind.message_type()->field_count(); ++i) {
    const FieldDescriptor& field = *kind.message_type()->field(i);
    if (IsDefault(parameters, field)) continue;
    absl::StrAppend(&text, ",", KeyOf(field), "=", Value(parameters, field));
  }
  if (!IsDefault(rule, WeightField())) {
    absl::StrAppend(&text, ",weights=", Value(rule, WeightField()));
  }
  return text;
}

std::string FormatRuleSpec(const RuleSpec& spec) {
  std::string text = FormatRuleSpec(spec.rule);
  if (!spec.layers.empty()) {
    absl::StrAppend(&text, ",layers=",
                    absl::StrReplaceAll(FormatLayers(spec.layers), {{", ", "+"}}));
  }
  return absl::StrCat(text, spec.analyze ? ",analyze" : "");
}

std::string FormatPolicySpec(const v1::RoutingPolicy& policy) {
  std::vector<std::string> rules;
  if (!policy.has_apply() && policy.has_analyze()) rules.push_back("native");
  AppendRules(policy, {}, &rules);
  for (const auto& some : policy.layer_overrides()) {
    AppendRules(some, {some.layers().begin(), some.layers().end()}, &rules);
  }
  return rules.empty() ? "native" : absl::StrJoin(rules, "/");
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
  if (name.size() <= kMaxPolicyIdLength) return name;
  constexpr size_t kHashLength = 6;
  name.resize(kMaxPolicyIdLength - kHashLength - 1);
  while (name.back() == '-') name.pop_back();
  return absl::StrFormat("%s-%06x", name, Hash(spec) & 0xffffff);
}

}  // namespace olmoe::client::notation
