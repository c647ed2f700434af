#include "client/app.h"

#include <algorithm>
#include <memory>
#include <ostream>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/commands/command.h"
#include "client/render/help.h"
#include "client/transport/address.h"
#include "server/util/command_line.h"

namespace olmoe::client {
namespace {

constexpr char kDescription[] =
    "olmoectl talks to an OLMoE routing server: generate, score, patch its expert routers.";

constexpr char kFooter[] =
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 server unreachable or not ready, 4 refused by the\n"
    "server (bad field, stale generation, out of range, queue full, ...), 5 not allowed,\n"
    "130 interrupted. Errors go to stderr; with --json they are a google.rpc.Status.";

void AddGlobalFlags(CLI::App& app, commands::GlobalOptions& options) {
  const auto is_address = [](int port) {
    return [port](const std::string& text) { return transport::CheckAddress(text, port); };
  };
  app.add_option("--server", options.server, "Address of the server's public port")
      ->check(is_address(50051), "", "")
      ->envname("OLMOE_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--admin", options.admin, "Address of the server's admin port")
      ->check(is_address(50052), "", "")
      ->envname("OLMOE_ADMIN")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_flag("--json", options.json, "Print the reply, or the error, as JSON");
  AddNumber(app, "--timeout", options.timeout_seconds, "Give a call up after this time; 0 = never",
            {.least = 0})
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_flag("--no-color", options.no_color, "Print without colours, as with NO_COLOR");
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
  commands::AddTokens(app, chosen);
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
  commands::AddRouter(app, chosen);
  commands::AddStatus(app, chosen);
  commands::AddDrain(app, chosen);
  commands::AddEval(app, chosen);
  commands::AddSweep(app, chosen);
  commands::AddRoute(app, chosen);
  commands::AddTrace(app, chosen);
  commands::AddBench(app, chosen);
  commands::AddCompletion(app, chosen);
  commands::AddCompleteNames(app, chosen);
}

}  // namespace

commands::ExitCode RunApp(std::vector<std::string> arguments, const commands::Console& console) {
  commands::Session session(console);
  commands::ChosenCommand chosen;
  CLI::App app(kDescription, "olmoectl");
  app.formatter(std::make_shared<render::HelpFormatter>());  // of the commands too
  app.footer(kFooter);
  app.set_version_flag("--version", OLMOE_VERSION);
  AddGlobalFlags(app, session.options());
  AddCredentialFlags(app, session.options().credentials);
  AddCommands(app, chosen);
  // Before all is parsed: what is wrong with it is told as JSON too.
  session.options().json =
      std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      return session.UsageError(absl::InvalidArgumentError(DescribeParseError(app, error)));
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
