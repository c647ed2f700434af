#ifndef OLMOE_SERVER_ROUTING_POLICY_WARNINGS_H_
#define OLMOE_SERVER_ROUTING_POLICY_WARNINGS_H_

#include <string>
#include <string_view>
#include <vector>

#include "server/routing/policy.h"

namespace olmoe::routing {

// What a valid policy does that its author may not expect, one sentence each:
// p-values of kind ONE_MINUS_PROB, a calibration that is not used, SUM_TO_ONE on a
// model that was trained without it. Fields are named below `prefix`.
std::vector<std::string> PolicyWarnings(const PolicySpec& spec, const RouterShape& shape,
                                        std::string_view prefix);

// Each text once, behind all of its fields: "FIELD: text" and "OTHER: text" are "FIELD, OTHER: text".
std::vector<std::string> MergeWarnings(const std::vector<std::string>& warnings);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_POLICY_WARNINGS_H_
