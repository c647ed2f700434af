// olmoe.v1.RoutingPolicy <-> routing::PolicySpec, without gRPC: the server's requests
// and olmoectl's offline routing read a policy in the same way.
#ifndef OLMOE_SERVER_API_POLICY_PROTO_H_
#define OLMOE_SERVER_API_POLICY_PROTO_H_

#include <string>

#include "olmoe/v1/routing.pb.h"
#include "server/routing/policy.h"
#include "server/api/request_errors.h"

namespace olmoe::api {

// What the domain types cannot hold (an enum value that does not exist) is a
// violation named below `prefix`; ranges are checked by routing itself.
routing::PolicySpec ToPolicySpec(const v1::RoutingPolicy& policy, const std::string& prefix,
                                 RequestErrors* errors);
v1::RoutingPolicy ToProto(const routing::PolicySpec& spec);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_POLICY_PROTO_H_
