// --wait of the commands that replace the routing plan.
#ifndef OLMOE_CLIENT_COMMANDS_WAIT_FLAG_H_
#define OLMOE_CLIENT_COMMANDS_WAIT_FLAG_H_

#include <string>

#include "CLI/App.hpp"
#include "google/protobuf/duration.pb.h"

namespace olmoe::client::commands {

// Adds --wait and --wait=SECONDS: until no request uses an older plan. `value` is
// empty where it is not given.
void AddWaitFlag(CLI::App& command, std::string& value);

// `value`: not empty, and checked by the flag.
google::protobuf::Duration WaitDuration(const std::string& value);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_WAIT_FLAG_H_
