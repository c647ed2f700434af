#ifndef OLMOE_CLIENT_APP_H_
#define OLMOE_CLIENT_APP_H_

#include <string>
#include <vector>

#include "client/commands/session.h"

namespace olmoe::client {

// One run of olmoectl. `arguments` are those after the program's name.
commands::ExitCode RunApp(std::vector<std::string> arguments, const commands::Console& console);

}  // namespace olmoe::client

#endif  // OLMOE_CLIENT_APP_H_
