#ifndef OLMOE_SERVER_EXPERIMENT_ROUTERS_H_
#define OLMOE_SERVER_EXPERIMENT_ROUTERS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/experiment/serving.h"
#include "server/routing/named_use.h"
#include "server/routing/router.h"

namespace olmoe::experiment {

// What all routers of a server may hold together, in the form in which they are kept: 64 routers of
// the full model in bfloat16. What a model makes of them is twice as much at most.
inline constexpr size_t kMaxRouterBytes = size_t{256} << 20;

// For the hooks of a RouterSet. RESOURCE_EXHAUSTED where `added` would be too much beside `routers`.
absl::Status CheckRoom(const routing::RouterSet& routers, const routing::Router& added);

// Those that the current plan names, what replaces it when its time to live ends, and the plans
// that still have requests.
routing::Names RoutersInUse(const Serving& serving);

// Errors: INVALID_ARGUMENT (field "router_id") for what is no name, NOT_FOUND.
absl::StatusOr<std::shared_ptr<const routing::Router>> FindRouter(const std::string& router_id,
                                                                  const Serving& serving);

// As DeleteCalibration, with ROUTER_IN_USE.
absl::Status DeleteRouter(const std::string& router_id, const Serving& serving);

// The router of `options` for the model that is served: its weights are made ready here, so that no
// step waits for that. Any thread. Errors: those of Router::Create and of Model::PrepareRouter.
absl::StatusOr<std::shared_ptr<const routing::Router>> MakeRouter(routing::Router::Options options,
                                                                  const model::Model& model);

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_ROUTERS_H_
