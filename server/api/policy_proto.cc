#include "server/api/policy_proto.h"

#include <optional>
#include <type_traits>
#include <variant>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
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
  // 0 on the wire is unset. NaN is kept, and refused.
  template <class Value>
  void Read(const FieldDescriptor& field, std::optional<Value>* to) const {
    Value wire = {};
    Read(field, &wire);
    if (wire != 0) *to = wire;
  }
  // 0 on the wire is the default.
  template <class Enum>
    requires std::is_enum_v<Enum>
  void Read(const FieldDescriptor& field, Enum* to) const {
    constexpr int kNumValues = static_cast<int>(routing::ValueNames<Enum>::kNames.size());
    const int wire = from_.GetReflection()->GetEnumValue(from_, &field);
    if (wire < 0 || wire > kNumValues) {
      errors_.Add(absl::StrCat(path_, ".", field.name()),
                  absl::StrCat("is not a ", field.enum_type()->name(), ": ", wire));
    } else if (wire > 0) {
      *to = static_cast<Enum>(wire - 1);
    }
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
  return out;
}

routing::PolicySpec ToPolicySpec(const v1::RoutingPolicy& policy, const std::string& prefix,
                                 RequestErrors* errors) {
  routing::PolicySpec spec;
  spec.policy_id = policy.policy_id();
  spec.description = policy.description();
  if (policy.has_apply()) spec.apply = ToRule(policy.apply(), prefix + ".apply", errors);
  if (policy.has_analyze()) spec.analyze = ToRule(policy.analyze(), prefix + ".analyze", errors);
  for (int i = 0; i < policy.layer_overrides_size(); ++i) {
    const v1::LayerOverride& from = policy.layer_overrides(i);
    const std::string name = absl::StrCat(prefix, ".layer_overrides[", i, "]");
    routing::LayerOverride& to = spec.layer_overrides.emplace_back();
    to.layers.assign(from.layers().begin(), from.layers().end());
    if (from.has_apply()) to.apply = ToRule(from.apply(), name + ".apply", errors);
    if (from.has_analyze()) to.analyze = ToRule(from.analyze(), name + ".analyze", errors);
  }
  return spec;
}

v1::RoutingPolicy ToProto(const routing::PolicySpec& spec) {
  v1::RoutingPolicy out;
  out.set_policy_id(spec.policy_id);
  out.set_description(spec.description);
  if (spec.apply) *out.mutable_apply() = ToProto(*spec.apply);
  if (spec.analyze) *out.mutable_analyze() = ToProto(*spec.analyze);
  for (const routing::LayerOverride& from : spec.layer_overrides) {
    v1::LayerOverride* to = out.add_layer_overrides();
    to->mutable_layers()->Add(from.layers.begin(), from.layers.end());
    if (from.apply) *to->mutable_apply() = ToProto(*from.apply);
    if (from.analyze) *to->mutable_analyze() = ToProto(*from.analyze);
  }
  return out;
}

}  // namespace olmoe::api
