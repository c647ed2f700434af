// Rules, policies and stamps in a few words.
#ifndef OLMOE_CLIENT_RENDER_ROUTING_H_
#define OLMOE_CLIENT_RENDER_ROUTING_H_

#include <string>

#include "client/render/style.h"

namespace olmoe::v1 {
class PatchRoutersResponse;
class PlanRecord;
class RoutingPolicy;
class RoutingStamp;
class Rule;
}  // namespace olmoe::v1

namespace olmoe::client {

std::string DescribeRule(const v1::Rule& rule);            // "top-k 4, sum-to-one"
std::string DescribePolicy(const v1::RoutingPolicy& policy);  // "top-k 4 on layers 0-3, 7"
std::string DescribeStamp(const v1::RoutingStamp& stamp);  // "generation 3, arm default, policy x"

// A plan: a line about its generation, a table of its arms.
std::string RenderPlan(const v1::PlanRecord& record, const Style& style);
// What a patch, an unpatch or a rollback did.
std::string RenderPatch(const v1::PatchRoutersResponse& response, const Style& style);

}  // namespace olmoe::client

#endif  // OLMOE_CLIENT_RENDER_ROUTING_H_
