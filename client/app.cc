#include "client/app.h"

#include <algorithm>
#include <ostream>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/commands/command.h"

namespace olmoe::client {
namespace {

constexpr char kDescription[] =
    "olmoectl talks to an OLMoE routing server: generate, score, patch its expert routers.";

constexpr char kFooter[] =
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 server unreachable or not ready, 4 refused by the\n"
    "server (bad field, stale generation, out of range, queue full, ...), 5 not allowed,\n"
    "130 interrupted. NO_COLOR and --no-color turn colours off.";

void AddGlobalFlags(CLI::App& app, commands::GlobalOptions& options) {
  app.add_option("--server", options.server, "Address of the server's public port")
      ->envname("OLMOE_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--admin", options.admin, "Address of the server's admin port")
      ->envname("OLMOE_ADMIN")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_flag("--json", options.json, "Print the reply, or the error, as JSON");
  app.add_option("--timeout", options.timeout_seconds, "Give a call up after this time; 0 = never")
      ->check(CLI::NonNegativeNumber)
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_flag("--no-color", options.no_color, "Print without colours");
}

// The same for both ports: an admin's token opens both.
void AddCredentialFlags(CLI::App& app, transport::CredentialFiles& files) {
  const auto add = [&app](const char* flag, const char* variable, std::string& target,
                          const char* help) {
    app.add_option(flag, target, help)->envname(variable)->type_name("FILE");
  };
  add("--ca", "OLMOE_CA", files.ca, "Use TLS, and trust certificates of these authorities, PEM");
  add("--cert", "OLMOE_CERT", files.cert, "Certificate of this client, PEM");
  add("--key", "OLMOE_KEY", files.key, "Private key of the certificate, PEM");
  add("--token-file", "OLMOE_TOKEN_FILE", files.token_file,
      "Send the first token of this file; its lines are [NAME:]TOKEN");
  app.add_flag("--tls", files.tls, "Use TLS with the authorities that the system trusts")
      ->envname("OLMOE_TLS");
}

void AddCommands(CLI::App& app, commands::ChosenCommand& chosen) {
  app.require_subcommand(1);
  app.fallthrough();  // global flags may come after the command
  commands::AddGenerate(app, chosen);
  commands::AddScore(app, chosen);
  commands::AddTokenize(app, chosen);
  commands::AddDetokenize(app, chosen);
  commands::AddModel(app, chosen);
  commands::AddHealth(app, chosen);
  commands::AddPatch(app, chosen);
  commands::AddUnpatch(app, chosen);
  commands::AddRollback(app, chosen);
  commands::AddRenew(app, chosen);
  commands::AddRouting(app, chosen);
  commands::AddHistory(app, chosen);
  commands::AddExplain(app, chosen);
  commands::AddExperts(app, chosen);
  commands::AddCalibration(app, chosen);
  commands::AddStatus(app, chosen);
  commands::AddDrain(app, chosen);
  commands::AddEval(app, chosen);
  commands::AddRoute(app, chosen);
  commands::AddBench(app, chosen);
  commands::AddCompletion(app, chosen);
}

}  // namespace

commands::ExitCode RunApp(std::vector<std::string> arguments, const commands::Console& console) {
  commands::Session session(console);
  commands::ChosenCommand chosen;
  CLI::App app(kDescription, "olmoectl");
  app.footer(kFooter);
  app.set_version_flag("--version", OLMOE_VERSION);
  AddGlobalFlags(app, session.options());
  AddCredentialFlags(app, session.options().credentials);
  AddCommands(app, chosen);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      return session.UsageError(
          absl::InvalidArgumentError(std::string(error.what()) + " (see olmoectl --help)"));
    }
    app.exit(error, session.out(), session.err());  // --help, --version
    return session.Finish(commands::ExitCode::kOk);
  }
  if (absl::Status status = session.ReadCredentials(); !status.ok()) {
    return session.UsageError(status);
  }
  return session.Finish(chosen(session));
}

}  // namespace olmoe::client
