#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/render/format.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct RenewOptions {
  uint64_t generation = 0;
  std::string ttl;
};

void Flags(CLI::App& command, RenewOptions& options) {
  command.add_option("generation", options.generation, "The current generation")
      ->required()
      ->type_name("GENERATION");
  command.add_option("--ttl", options.ttl, "Time to live from now, such as 10m or 1h30m")
      ->required()
      ->check(notation::CheckDuration)
      ->type_name("TIME");
}

ExitCode Run(const RenewOptions& options, Session& session) {
  v1::RenewRoutingRequest request;
  request.set_generation(options.generation);
  *request.mutable_ttl() = *notation::ParseDuration(options.ttl);
  const auto text = [&options](const v1::RenewRoutingResponse& response, const render::Style&) {
    return absl::StrCat("renewed: generation ", options.generation, ", until ",
                        render::FormatTime(response.expire_time()), "\n");
  };
  return session.PrintReply(session.rpc().RenewRouting(request), text);
}

}  // namespace

void AddRenew(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RenewOptions>(app, chosen, "renew", "Move the end of a plan's time to live", Flags,
                           Run);
}

}  // namespace olmoe::client::commands
