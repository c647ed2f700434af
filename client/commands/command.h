// What every command file has in common.
#ifndef OLMOE_CLIENT_COMMANDS_COMMAND_H_
#define OLMOE_CLIENT_COMMANDS_COMMAND_H_

#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/commands/commands.h"
#include "client/commands/exit_code.h"
#include "client/commands/session.h"

namespace olmoe::client::commands {

// For a command that was followed by one of its own: the command is not run, so a
// flag of it that was given is an error rather than without effect.
void RefuseFlagsBeforeSubcommand(const CLI::App& command);

// Adds a command: `flags` binds its command line to an Options, `run` carries it
// out. This is all that a command's file has to call. The result takes commands
// below it.
template <typename Options>
CLI::App* AddCommand(CLI::App& app, ChosenCommand& chosen, const std::string& name,
                const std::string& description, void (*flags)(CLI::App&, Options&),
                ExitCode (*run)(const Options&, Session&)) {
  CLI::App* command = app.add_subcommand(name, description);
  auto options = std::make_shared<Options>();
  flags(*command, *options);
  command->callback([command, &chosen, options, run] {
    if (!command->get_subcommands().empty()) return RefuseFlagsBeforeSubcommand(*command);
    chosen = [options, run](Session& session) { return run(*options, session); };
  });
  return command;
}

// For ->check(): text that goes into a request must be UTF-8.
CLI::Validator IsUtf8();

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_COMMAND_H_
