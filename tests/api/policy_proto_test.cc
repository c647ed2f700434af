#include "server/api/policy_proto.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
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
}

}  // namespace
}  // namespace olmoe::api
