#ifndef OLMOE_CLIENT_NOTATION_PLAN_FLAGS_H_
#define OLMOE_CLIENT_NOTATION_PLAN_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::notation {

// A flag as it stood on the command line, without its dashes; no value: "".
struct FlagValue {
  std::string name;
  std::string value;
};

// The plan that a row of flags describes. The order counts:
//
//   --arm NAME                     an arm begins; what follows is about it
//   --weight N, --allow-explicit   its share (1 without) and who may ask for it
//   --policy-id NAME               the name of its policy
//   --top-k 4, --bh ALPHA,..., ..  a rule of its policy: ParseRule
//   --weights, --temperature,      about the rule before them, or about the arm's
//   --min, --max, --ban, ..,       first where none is before them
//   --layers, --analyze, --decode
//   --policy SPEC                  the whole policy, in place of rules
//
// Without --arm there is one arm, "default". An arm without rules has the model's
// own routing. INVALID_ARGUMENT names everything that is wrong.
absl::StatusOr<v1::RoutingPlan> PlanOfFlags(const std::vector<FlagValue>& flags);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_PLAN_FLAGS_H_
