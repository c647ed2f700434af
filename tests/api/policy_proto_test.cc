#include "server/api/policy_proto.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/rule_fields.h"

namespace olmoe::api {
namespace {

// A kind or a field that only one of the two knows would be lost on its way.
TEST(PolicyProtoTest, RulesAreDescribedAsInTheProto) {
  const google::protobuf::OneofDescriptor& kinds = *v1::Rule::descriptor()->FindOneofByName("kind");
  std::vector<std::string> described, in_proto;
  routing::ForEachKind([&]<class Kind>(const Kind& kind) {
    described.push_back(routing::Description<Kind>::kName);
    routing::ForEachField(kind, [&](const auto& field, const auto&) {
      described.push_back(absl::StrCat(routing::Description<Kind>::kName, ".", field.name));
    });
  });
  for (int i = 0; i < kinds.field_count(); ++i) {
    in_proto.push_back(kinds.field(i)->name());
    const google::protobuf::Descriptor& parameters = *kinds.field(i)->message_type();
    for (int j = 0; j < parameters.field_count(); ++j) {
      in_proto.push_back(absl::StrCat(kinds.field(i)->name(), ".", parameters.field(j)->name()));
    }
  }
  EXPECT_EQ(described, in_proto);
}

// The paths of all fields of the groups of `owner`, and of their groups.
template <class Owner>
void AddGroupFields(Owner owner, const std::string& path, std::vector<std::string>* out) {
  routing::ForEachGroup(owner, [&](const auto& group, auto& value) {
    const std::string group_path = absl::StrCat(path, group.name, ".");
    auto& present = routing::MakePresent(value);
    AddGroupFields(present, group_path, out);
    routing::ForEachField(present, [&](const auto& field, const auto&) {
      out->push_back(absl::StrCat(group_path, field.name));
    });
  });
}

void AddMessageFields(const google::protobuf::Descriptor& message, const std::string& path,
                      std::vector<std::string>* out) {
  for (int i = 0; i < message.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *message.field(i);
    if (field.message_type() == nullptr) {
      out->push_back(absl::StrCat(path, field.name()));
    } else {
      AddMessageFields(*field.message_type(), absl::StrCat(path, field.name(), "."), out);
    }
  }
}

TEST(PolicyProtoTest, AdjustmentsAreDescribedAsInTheProto) {
  std::vector<std::string> described, in_proto;
  AddGroupFields(routing::Rule(), "", &described);
  AddMessageFields(*v1::Adjust::descriptor(), "adjust.", &in_proto);
  EXPECT_THAT(described, ::testing::UnorderedElementsAreArray(in_proto));
}

TEST(PolicyProtoTest, AnAdjustedRuleComesBackAsItWas) {
  routing::Rule rule{routing::Expression{"p > 0", {2, 9}, {"cal"}}};
  rule.adjust.bias = routing::Bias{routing::BiasScope::kBoth, {0.5f, -1}};
  rule.adjust.steer = routing::Steer{{1}, {2, 3}, 0.5};
  rule.adjust.noise = routing::Noise{2};
  rule.adjust.ban = {4};
  rule.adjust.ban_mass = routing::BanMass::kKeep;
  rule.adjust.force = {5, 6};
  RequestErrors errors;
  EXPECT_TRUE(ToRule(ToProto(rule), "apply", &errors) == rule);
  const v1::Rule plain = ToProto(routing::Rule{routing::TopK{1}});
  EXPECT_FALSE(plain.has_adjust());
  v1::Rule empty;  // a message of its own, though nothing is in it
  empty.mutable_top_k()->set_k(1);
  empty.mutable_adjust()->mutable_steer();
  EXPECT_TRUE(ToRule(empty, "apply", &errors).adjust.steer.has_value());
  empty.mutable_adjust()->mutable_bias()->set_scope(static_cast<v1::BiasScope>(9));
  EXPECT_TRUE(errors.empty());
  ToRule(empty, "apply", &errors);
  EXPECT_THAT(std::string(errors.ToStatus().message()),
              ::testing::HasSubstr("apply.adjust.bias.scope"));
}

template <class Enum>
std::vector<std::string> NamesOnTheWire(const std::string& prefix) {
  std::vector<std::string> names = {prefix + "UNSPECIFIED"};
  for (const char* name : routing::ValueNames<Enum>::kNames) {
    names.push_back(prefix + absl::AsciiStrToUpper(name));
  }
  return names;
}

std::vector<std::string> NamesOf(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    EXPECT_EQ(type.value(i)->number(), i);
    names.push_back(type.value(i)->name());
  }
  return names;
}

TEST(PolicyProtoTest, EnumsHaveTheValuesOfTheProto) {
  EXPECT_EQ(NamesOf(*v1::PValueKind_descriptor()),
            NamesOnTheWire<routing::PValueKind>("P_VALUE_KIND_"));
  EXPECT_EQ(NamesOf(*v1::WeightMode_descriptor()),
            NamesOnTheWire<routing::WeightMode>("WEIGHT_MODE_"));
  EXPECT_EQ(NamesOf(*v1::BiasScope_descriptor()),
            NamesOnTheWire<routing::BiasScope>("BIAS_SCOPE_"));
  EXPECT_EQ(NamesOf(*v1::BanMass_descriptor()), NamesOnTheWire<routing::BanMass>("BAN_MASS_"));
}

}  // namespace
}  // namespace olmoe::api
