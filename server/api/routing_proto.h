// olmoe.v1 routing messages <-> the routing domain: the one place. Policies by
// themselves are policy_proto.h.
#ifndef OLMOE_SERVER_API_ROUTING_PROTO_H_
#define OLMOE_SERVER_API_ROUTING_PROTO_H_

#include <cstdint>
#include <optional>
#include <string>

#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/routing.pb.h"
#include "server/api/policy_proto.h"
#include "server/api/request_errors.h"
#include "server/routing/plan.h"
#include "server/routing/plan_store.h"

namespace olmoe::routing {
struct PatchResult;
}

namespace olmoe::api {

// What the domain types cannot hold (an enum value that does not exist) is a
// violation named below `prefix`; ranges are checked by routing itself.
routing::PlanSpec ToPlanSpec(const v1::RoutingPlan& plan, const std::string& prefix,
                             RequestErrors* errors);

v1::RoutingPlan ToProto(const routing::PlanSpec& spec);
v1::PlanRecord ToProto(const routing::PlanRecord& record, int64_t in_flight_requests);
// Of an older plan that requests still hold: without actor and expire_time.
v1::PlanRecord ToProto(const routing::RoutingPlan& plan, int64_t in_flight_requests);
v1::PatchRoutersResponse ToProto(const routing::PatchAnswer& answer);
// The same, and the plan that was checked where nothing was to change.
v1::PatchRoutersResponse ToProto(const routing::PatchResult& result);
// nullopt where it holds what the domain types cannot.
std::optional<routing::PatchAnswer> FromProto(const v1::PatchRoutersResponse& answer);
v1::RoutingStamp ToProto(uint64_t generation, const routing::Assignment& assignment);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_ROUTING_PROTO_H_
