#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct DrainOptions {
  std::string grace = "30s";
};

void Flags(CLI::App& command, DrainOptions& options) {
  command.add_option("--grace", options.grace, "How long accepted requests may go on")
      ->check(notation::CheckDuration)
      ->type_name("TIME")
      ->capture_default_str();
}

ExitCode Run(const DrainOptions& options, Session& session) {
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
  AddCommand<DrainOptions>(app, chosen, "drain",
                           "Let the server finish what it has accepted, and refuse the rest", Flags,
                           Run);
}

}  // namespace olmoe::client::commands
