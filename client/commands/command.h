// The commands of olmoectl, and what their files have in common: one function, one file a command.
#ifndef OLMOE_CLIENT_COMMANDS_COMMAND_H_
#define OLMOE_CLIENT_COMMANDS_COMMAND_H_

#include <functional>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/commands/session.h"
#include "server/util/command_line.h"

namespace olmoe::client::commands {

// The command that the command line chose: set while it is parsed, run afterwards.
using ChosenCommand = std::function<ExitCode(Session&)>;

void AddGenerate(CLI::App& app, ChosenCommand& chosen);
void AddScore(CLI::App& app, ChosenCommand& chosen);
void AddTokens(CLI::App& app, ChosenCommand& chosen);
void AddTokenize(CLI::App& app, ChosenCommand& chosen);
void AddDetokenize(CLI::App& app, ChosenCommand& chosen);
void AddModel(CLI::App& app, ChosenCommand& chosen);
void AddHealth(CLI::App& app, ChosenCommand& chosen);
void AddPatch(CLI::App& app, ChosenCommand& chosen);
void AddUnpatch(CLI::App& app, ChosenCommand& chosen);
void AddRollback(CLI::App& app, ChosenCommand& chosen);
void AddRenew(CLI::App& app, ChosenCommand& chosen);
void AddRouting(CLI::App& app, ChosenCommand& chosen);
void AddHistory(CLI::App& app, ChosenCommand& chosen);
void AddExplain(CLI::App& app, ChosenCommand& chosen);
void AddExperts(CLI::App& app, ChosenCommand& chosen);
void AddCalibration(CLI::App& app, ChosenCommand& chosen);
void AddRouter(CLI::App& app, ChosenCommand& chosen);
void AddStatus(CLI::App& app, ChosenCommand& chosen);
void AddDrain(CLI::App& app, ChosenCommand& chosen);
void AddEval(CLI::App& app, ChosenCommand& chosen);
void AddSweep(CLI::App& app, ChosenCommand& chosen);
void AddRoute(CLI::App& app, ChosenCommand& chosen);
void AddTrace(CLI::App& app, ChosenCommand& chosen);
void AddBench(CLI::App& app, ChosenCommand& chosen);
// `app` outlives the run: the script is made from it.
void AddCompletion(CLI::App& app, ChosenCommand& chosen);
// Not shown: what the scripts ask for names of arms, calibrations, routers and generations.
void AddCompleteNames(CLI::App& app, ChosenCommand& chosen);

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

// The same for a command without flags of its own.
CLI::App* AddCommand(CLI::App& app, ChosenCommand& chosen, const std::string& name,
                     const std::string& description, ExitCode (*run)(Session&));

// For ->check(): text that goes into a request must be UTF-8.
CLI::Validator IsUtf8();

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_COMMAND_H_
