#ifndef OLMOE_CLIENT_COMMANDS_EXIT_CODE_H_
#define OLMOE_CLIENT_COMMANDS_EXIT_CODE_H_

#include "absl/status/status.h"

namespace olmoe::client::commands {

// How a run of olmoectl ended, for scripts. Documented in `olmoectl --help`.
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,       // the call was made and did not succeed, or the output was lost
  kUsage = 2,        // the command line, or a file that it names, cannot be used
  kUnreachable = 3,  // no server there, or one that is not ready
  kRefused = 4,      // the server said no to this request
  kNotAllowed = 5,   // the server said no to this caller
  kInterrupted = 130,  // Ctrl-C, as shells count it: 128 + SIGINT
};

ExitCode ExitCodeFor(const absl::Status& status);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_EXIT_CODE_H_
