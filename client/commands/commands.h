// Every command of olmoectl: one function, one file.
#ifndef OLMOE_CLIENT_COMMANDS_COMMANDS_H_
#define OLMOE_CLIENT_COMMANDS_COMMANDS_H_

#include <functional>

#include "client/commands/exit_code.h"

namespace CLI {
class App;
}

namespace olmoe::client::commands {

class Session;

// The command that the command line chose: set while it is parsed, run afterwards.
using ChosenCommand = std::function<ExitCode(Session&)>;

void AddGenerate(CLI::App& app, ChosenCommand& chosen);
void AddScore(CLI::App& app, ChosenCommand& chosen);
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
void AddStatus(CLI::App& app, ChosenCommand& chosen);
void AddDrain(CLI::App& app, ChosenCommand& chosen);
void AddEval(CLI::App& app, ChosenCommand& chosen);
void AddRoute(CLI::App& app, ChosenCommand& chosen);
void AddBench(CLI::App& app, ChosenCommand& chosen);
// `app` outlives the run: the script is made from it.
void AddCompletion(CLI::App& app, ChosenCommand& chosen);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_COMMANDS_H_
