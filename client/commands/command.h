// What every command file has in common.
#ifndef OLMOE_CLIENT_COMMANDS_COMMAND_H_
#define OLMOE_CLIENT_COMMANDS_COMMAND_H_

#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/commands/commands.h"
#include "client/exit_code.h"
#include "client/session.h"

namespace olmoe::client {

// Adds a command: `flags` binds its command line to an Options, `run` carries it
// out. This is all that a command's file has to call.
template <typename Options>
void AddCommand(CLI::App& app, ChosenCommand& chosen, const std::string& name,
                const std::string& description, void (*flags)(CLI::App&, Options&),
                ExitCode (*run)(const Options&, Session&)) {
  CLI::App* command = app.add_subcommand(name, description);
  auto options = std::make_shared<Options>();
  flags(*command, *options);
  command->callback([&chosen, options, run] {
    chosen = [options, run](Session& session) { return run(*options, session); };
  });
}

// For ->check(): text that goes into a request must be UTF-8.
CLI::Validator IsUtf8();

}  // namespace olmoe::client

#endif  // OLMOE_CLIENT_COMMANDS_COMMAND_H_
