// From a request's RoutingSelector to the plan it is pinned to and the arm it runs.
#ifndef OLMOE_SERVER_RPC_ROUTING_CHOICE_H_
#define OLMOE_SERVER_RPC_ROUTING_CHOICE_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/routing/plan_slot.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

inline constexpr size_t kMaxUnitIdBytes = 256;

// How a request asked to be routed; checked, not yet assigned.
struct RoutingChoice {
  std::string unit_id;
  std::optional<std::string> arm_id;
  std::shared_ptr<const routing::RoutingPolicy> inline_policy;  // or null
};

// Fields are named "routing..." and "unit_id".
RoutingChoice ParseRouting(const v1::RoutingSelector& selector, const std::string& unit_id,
                           const ServiceContext& context, RequestErrors* errors);

// The plan of one request, held; its arm; and the stamp that says so.
struct Admission {
  routing::PlanPin pin;
  routing::Assignment assignment;
  v1::RoutingStamp stamp;
};

// Pins the current plan and assigns the arm. PERMISSION_DENIED for an arm that
// does not exist or may not be named.
absl::StatusOr<Admission> Admit(const RoutingChoice& choice, const std::string& request_id,
                                const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ROUTING_CHOICE_H_
