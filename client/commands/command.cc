#include "client/commands/command.h"

#include "client/notation/text.h"

namespace olmoe::client::commands {

CLI::App* AddCommand(CLI::App& app, ChosenCommand& chosen, const std::string& name,
                     const std::string& description, ExitCode (*run)(Session&)) {
  CLI::App* command = app.add_subcommand(name, description);
  command->callback([&chosen, run] { chosen = run; });
  return command;
}

CLI::Validator IsUtf8() {
  return CLI::Validator([](std::string& text) { return notation::CheckUtf8(text); },
                        /*validator_desc=*/"");
}

void RefuseFlagsBeforeSubcommand(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0) continue;
    throw CLI::ValidationError(option->get_name(),
                               "is not a flag of " + command.get_name() + " " +
                                   command.get_subcommands().front()->get_name());
  }
}

}  // namespace olmoe::client::commands
