// Rules and policies: olmoe.v1 <-> routing. olmoectl reads and writes them as the server does.
#ifndef OLMOE_SERVER_API_POLICY_PROTO_H_
#define OLMOE_SERVER_API_POLICY_PROTO_H_

#include <string>

#include "olmoe/v1/routing.pb.h"
#include "server/api/request_errors.h"
#include "server/routing/policy.h"

namespace olmoe::api {

// What the domain types cannot hold (an enum value that does not exist) is a
// violation named below `prefix`; ranges are checked by routing itself.
routing::Rule ToRule(const v1::Rule& rule, const std::string& prefix, RequestErrors* errors);
routing::PolicySpec ToPolicySpec(const v1::RoutingPolicy& policy, const std::string& prefix,
                                 RequestErrors* errors);

v1::Rule ToProto(const routing::Rule& rule);
v1::RoutingPolicy ToProto(const routing::PolicySpec& spec);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_POLICY_PROTO_H_
