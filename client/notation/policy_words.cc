#include "client/notation/policy_words.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace olmoe::client::notation {
namespace {

std::string Word(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", "-"}});
}

}  // namespace

std::string KeyOf(const google::protobuf::FieldDescriptor& field) {
  absl::string_view name = field.name();
  if (absl::StartsWith(name, "min_") || absl::StartsWith(name, "max_")) {
    absl::ConsumeSuffix(&name, "_k");
  }
  absl::ConsumeSuffix(&name, "_id");
  return Word(name);
}

// WEIGHT_MODE_SUM_TO_ONE: the enum's first value, WEIGHT_MODE_UNSPECIFIED, tells the
// length of the prefix.
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value) {
  absl::string_view prefix = value.type()->value(0)->name();
  absl::ConsumeSuffix(&prefix, "UNSPECIFIED");
  absl::string_view name = value.name();
  absl::ConsumePrefix(&name, prefix);
  return Word(name);
}

const google::protobuf::OneofDescriptor& RuleKinds() {
  return *v1::Rule::descriptor()->FindOneofByName("kind");
}

const google::protobuf::FieldDescriptor& WeightField() {
  return *v1::Rule::descriptor()->FindFieldByName("weight_mode");
}

}  // namespace olmoe::client::notation
