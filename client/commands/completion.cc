#include <ostream>
#include <string>

#include "client/commands/command.h"
#include "client/render/completion.h"

namespace olmoe::client::commands {

void AddCompletion(CLI::App& app, ChosenCommand& chosen) {
  CLI::App* command = app.add_subcommand("completion", "Print a completion script for a shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "The shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&app, &chosen, shell] {
    chosen = [&app, shell](Session& session) {
      session.out() << render::CompletionScript(app, *shell);
      return ExitCode::kOk;
    };
  });
}

}  // namespace olmoe::client::commands
