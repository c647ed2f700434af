#ifndef OLMOE_CLIENT_COMMANDS_PLAN_FILE_H_
#define OLMOE_CLIENT_COMMANDS_PLAN_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/commands/session.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {

// A RoutingPlan in proto JSON, from a file or, for "-", the standard input.
// INVALID_ARGUMENT, naming the file and the field, for one that does not exist or
// has the wrong type; whether the plan is valid is the server's to say.
absl::StatusOr<v1::RoutingPlan> ReadPlan(const std::string& path, Session& session);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_PLAN_FILE_H_
