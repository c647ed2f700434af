// The words of policy specs, which are those of the proto.
#ifndef OLMOE_CLIENT_NOTATION_POLICY_WORDS_H_
#define OLMOE_CLIENT_NOTATION_POLICY_WORDS_H_

#include <cstddef>
#include <string>

#include "olmoe/v1/routing.pb.h"

namespace olmoe::client::notation {

// The keys of a rule are the fields of its message, so a rule that is added to the
// proto can be written here at once: max_k is "max", calibration_id "calibration",
// p_value "p-value", P_VALUE_KIND_ONE_MINUS_PROB "one-minus-prob".

inline constexpr size_t kMaxPolicyIdLength = 32;

std::string KeyOf(const google::protobuf::FieldDescriptor& field);
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value);

// Of v1::Rule: the kinds, and the field of the weight mode.
const google::protobuf::OneofDescriptor& RuleKinds();
const google::protobuf::FieldDescriptor& WeightField();

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_POLICY_WORDS_H_
