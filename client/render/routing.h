// Rules, policies and stamps in a few words.
#ifndef OLMOE_CLIENT_RENDER_ROUTING_H_
#define OLMOE_CLIENT_RENDER_ROUTING_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "client/render/style.h"

namespace olmoe::v1 {
class PatchRoutersResponse;
class PlanRecord;
class RoutingPlan;
class RoutingPolicy;
class RoutingStamp;
}  // namespace olmoe::v1

namespace olmoe::client::render {

inline constexpr size_t kShortDigest = 12;  // characters that tell digests apart in tables

std::string DescribePolicy(const v1::RoutingPolicy& policy);  // "top 4 on layers 0-3, 7"
std::string DescribeStamp(const v1::RoutingStamp& stamp);  // "generation 3, arm default, policy x"

// A plan: a line about its generation, a table of its arms.
std::string RenderPlan(const v1::PlanRecord& record, const Style& style);
// In a cell: the policy of the one arm, or "control 90.0%: native, wide 10.0%: top-k=16".
std::string RenderArms(const v1::RoutingPlan& plan);
// What a dry run found: the plan that was checked, and what is current and stays so.
std::string RenderDryRun(const v1::PatchRoutersResponse& response, uint32_t num_layers,
                         const Style& style);
// What a patch, an unpatch or a rollback did. `num_layers`: of the model, to show
// beside the routers that a probe covered; 0 = not known.
std::string RenderPatch(const v1::PatchRoutersResponse& response, uint32_t num_layers,
                        const Style& style);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_ROUTING_H_
