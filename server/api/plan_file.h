#ifndef OLMOE_SERVER_API_PLAN_FILE_H_
#define OLMOE_SERVER_API_PLAN_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/routing/controller.h"

namespace olmoe::api {

// Reads an olmoe.v1.RoutingPlan in proto JSON; whether it suits the model is for the
// controller to say. Errors, one line each and naming the file: UNAVAILABLE where it
// cannot be read, INVALID_ARGUMENT for a file that is none, is larger than 1 MiB or has
// an unknown field.
absl::StatusOr<routing::PlanFile> ReadPlanFile(const std::string& path);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_PLAN_FILE_H_
