#include <istream>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct DrainOptions {
  std::string grace = "30s";
  bool yes = false;
};

void Flags(CLI::App& command, DrainOptions& options) {
  command.add_option("--grace", options.grace, "How long accepted requests may go on")
      ->check(notation::CheckDuration)
      ->type_name("TIME")
      ->capture_default_str();
  command.add_flag("-y,--yes", options.yes, "Do not ask first, as it does on a terminal");
}

// On a terminal: there is no way back but to start the server anew.
bool IsMeant(const DrainOptions& options, Session& session) {
  if (options.yes || !session.can_ask()) return true;
  session.err() << "Drain the server at " << session.options().admin
                << "? It refuses all requests from now on, until it is started anew. [y/N] "
                << std::flush;
  std::string answer;
  std::getline(session.in(), answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

ExitCode Run(const DrainOptions& options, Session& session) {
  if (!IsMeant(options, session)) return session.Failed("not drained");
  v1::DrainRequest request;
  *request.mutable_grace() = *notation::ParseDuration(options.grace);
  const auto text = [](const v1::DrainResponse& response, const render::Style&) {
    return absl::StrCat("drained: new requests are refused, ", response.aborted_requests(),
                        " of the accepted ones aborted\n");
  };
  return session.PrintReply(session.rpc().Drain(request), text);
}

}  // namespace

void AddDrain(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<DrainOptions>(
      app, chosen, "drain",
      "Let the server finish what it has accepted, and refuse the rest for good", Flags, Run);
}

}  // namespace olmoe::client::commands
