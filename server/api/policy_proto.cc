#include "server/api/policy_proto.h"

#include <optional>
#include <type_traits>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "google/protobuf/reflection.h"
#include "server/routing/rule_fields.h"

namespace olmoe::api {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Rules and their fields have the names of routing.proto, so a list of rule_fields.h is
// all that the way to a message and back needs.
const FieldDescriptor& FieldOf(const Message& message, const char* name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  CHECK(field != nullptr) << message.GetTypeName() << " has no field " << name;
  return *field;
}

// Reads the field of a message into the parameter of the same name.
class FieldReader {
 public:
  // `path`: of the message; errors are named below it.
  FieldReader(const Message& from, const std::string& path, RequestErrors* errors)
      : from_(from), path_(path), errors_(*errors) {}

  template <class Field, class Value>
  void operator()(const Field& field, Value& to) const {
    Read(FieldOf(from_, field.name), &to);
  }

 private:
  void Read(const FieldDescriptor& field, uint32_t* to) const {
    *to = from_.GetReflection()->GetUInt32(from_, &field);
  }
  void Read(const FieldDescriptor& field, double* to) const {
    const bool unset = field.has_presence() && !from_.GetReflection()->HasField(from_, &field);
    if (!unset) *to = from_.GetReflection()->GetDouble(from_, &field);
  }
  void Read(const FieldDescriptor& field, std::string* to) const {
    *to = from_.GetReflection()->GetString(from_, &field);
  }
  template <class Value>
    requires std::is_arithmetic_v<Value>
  void Read(const FieldDescriptor& field, std::vector<Value>* to) const {
    const auto values = from_.GetReflection()->GetRepeatedFieldRef<Value>(from_, &field);
    to->assign(values.begin(), values.end());
  }
  // 0 on the wire is unset. NaN is kept, and refused.
  template <class Value>
  void Read(const FieldDescriptor& field, std::optional<Value>* to) const {
    Value wire = {};
    Read(field, &wire);
    if (wire != 0) *to = wire;
  }
  // 0 on the wire is the default, or unset.
  template <class Enum>
    requires std::is_enum_v<Enum>
  void Read(const FieldDescriptor& field, Enum* to) const {
    if (const auto value = EnumValue<Enum>(field)) *to = *value;
  }
  template <class Enum>
    requires std::is_enum_v<Enum>
  void Read(const FieldDescriptor& field, std::optional<Enum>* to) const {
    *to = EnumValue<Enum>(field);
  }
  template <class Enum>
  std::optional<Enum> EnumValue(const FieldDescriptor& field) const {
    constexpr int kNumValues = static_cast<int>(routing::ValueNames<Enum>::kNames.size());
    const int wire = from_.GetReflection()->GetEnumValue(from_, &field);
    if (wire > 0 && wire <= kNumValues) return static_cast<Enum>(wire - 1);
    if (wire != 0) {
      errors_.Add(absl::StrCat(path_, ".", field.name()),
                  absl::StrCat("is not a ", field.enum_type()->name(), ": ", wire));
    }
    return std::nullopt;
  }

  const Message& from_;
  const std::string path_;
  RequestErrors& errors_;
};

class FieldWriter {
 public:
  explicit FieldWriter(Message* to) : to_(*to) {}

  template <class Field, class Value>
  void operator()(const Field& field, const Value& value) const {
    Write(FieldOf(to_, field.name), value);
  }

 private:
  void Write(const FieldDescriptor& field, uint32_t value) const {
    to_.GetReflection()->SetUInt32(&to_, &field, value);
  }
  void Write(const FieldDescriptor& field, double value) const {
    to_.GetReflection()->SetDouble(&to_, &field, value);
  }
  void Write(const FieldDescriptor& field, const std::string& value) const {
    to_.GetReflection()->SetString(&to_, &field, value);
  }
  template <class Value>
  void Write(const FieldDescriptor& field, const std::vector<Value>& values) const {
    auto to = to_.GetReflection()->GetMutableRepeatedFieldRef<Value>(&to_, &field);
    for (const Value value : values) to.Add(value);
  }
  template <class Value>
  void Write(const FieldDescriptor& field, const std::optional<Value>& value) const {
    if (value) Write(field, *value);
  }
  template <class Enum>
    requires std::is_enum_v<Enum>
  void Write(const FieldDescriptor& field, Enum value) const {
    to_.GetReflection()->SetEnumValue(&to_, &field, static_cast<int>(value) + 1);
  }

  Message& to_;
};

// The groups of a rule, or of a group: messages that may be missing.
template <class Owner>
void ReadGroups(const Message& from, const std::string& path, RequestErrors* errors, Owner& owner) {
  routing::ForEachGroup(owner, [&](const auto& group, auto& to) {
    const FieldDescriptor& field = FieldOf(from, group.name);
    if (!from.GetReflection()->HasField(from, &field)) return;
    const Message& inner = from.GetReflection()->GetMessage(from, &field);
    const std::string inner_path = absl::StrCat(path, ".", group.name);
    auto& present = routing::MakePresent(to);
    routing::ForEachField(present, FieldReader(inner, inner_path, errors));
    ReadGroups(inner, inner_path, errors, present);
  });
}

template <class Owner>
void WriteGroups(const Owner& owner, Message* to) {
  routing::ForEachGroup(owner, [to](const auto& group, const auto& from) {
    const auto* present = routing::Present(from);
    if (present == nullptr) return;
    Message* inner = to->GetReflection()->MutableMessage(to, &FieldOf(*to, group.name));
    routing::ForEachField(*present, FieldWriter(inner));
    WriteGroups(*present, inner);
  });
}

// Those of a policy, or of an override.
template <class From, class To>
void ReadRules(const From& from, const std::string& path, RequestErrors* errors, To* to) {
  if (from.has_apply()) to->apply = ToRule(from.apply(), path + ".apply", errors);
  if (from.has_analyze()) to->analyze = ToRule(from.analyze(), path + ".analyze", errors);
  if (from.has_decode()) to->decode = ToRule(from.decode(), path + ".decode", errors);
}

template <class From, class To>
void WriteRules(const From& from, To* to) {
  if (from.apply) *to->mutable_apply() = ToProto(*from.apply);
  if (from.analyze) *to->mutable_analyze() = ToProto(*from.analyze);
  if (from.decode) *to->mutable_decode() = ToProto(*from.decode);
}

}  // namespace

routing::Rule ToRule(const v1::Rule& rule, const std::string& prefix, RequestErrors* errors) {
  routing::Rule out;
  // Without a kind: monostate, refused by ValidateRule.
  const FieldDescriptor* kind = rule.GetReflection()->GetOneofFieldDescriptor(
      rule, rule.GetDescriptor()->FindOneofByName("kind"));
  if (kind != nullptr) {
    out.kind = routing::MakeKind(kind->name());
    const FieldReader reader(rule.GetReflection()->GetMessage(rule, kind),
                             absl::StrCat(prefix, ".", kind->name()), errors);
    std::visit([&](auto& parameters) { routing::ForEachField(parameters, reader); }, out.kind);
  }
  routing::ForEachField(out, FieldReader(rule, prefix, errors));
  ReadGroups(rule, prefix, errors, out);
  return out;
}

v1::Rule ToProto(const routing::Rule& rule) {
  v1::Rule out;
  if (!std::holds_alternative<std::monostate>(rule.kind)) {
    const FieldWriter writer(
        out.GetReflection()->MutableMessage(&out, &FieldOf(out, routing::KindName(rule))));
    std::visit([&](const auto& kind) { routing::ForEachField(kind, writer); }, rule.kind);
  }
  routing::ForEachField(rule, FieldWriter(&out));
  WriteGroups(rule, &out);
  return out;
}

routing::PolicySpec ToPolicySpec(const v1::RoutingPolicy& policy, const std::string& prefix,
                                 RequestErrors* errors) {
  routing::PolicySpec spec;
  spec.policy_id = policy.policy_id();
  spec.description = policy.description();
  spec.router = policy.router();
  ReadRules(policy, prefix, errors, &spec);
  for (int i = 0; i < policy.layer_overrides_size(); ++i) {
    const v1::LayerOverride& from = policy.layer_overrides(i);
    const std::string name = absl::StrCat(prefix, ".layer_overrides[", i, "]");
    routing::LayerOverride& to = spec.layer_overrides.emplace_back();
    to.layers.assign(from.layers().begin(), from.layers().end());
    ReadRules(from, name, errors, &to);
  }
  return spec;
}

v1::RoutingPolicy ToProto(const routing::PolicySpec& spec) {
  v1::RoutingPolicy out;
  out.set_policy_id(spec.policy_id);
  out.set_description(spec.description);
  out.set_router(spec.router);
  WriteRules(spec, &out);
  for (const routing::LayerOverride& from : spec.layer_overrides) {
    v1::LayerOverride* to = out.add_layer_overrides();
    to->mutable_layers()->Add(from.layers.begin(), from.layers.end());
    WriteRules(from, to);
  }
  return out;
}

}  // namespace olmoe::api
