#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/notation/duration.h"
#include "client/render/format.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct RenewOptions {
  std::optional<uint64_t> generation;
  std::string ttl;
};

void Flags(CLI::App& command, RenewOptions& options) {
  AddNumber(command, "generation", options.generation,
            "The generation to renew, which must be current; default: whichever is")
      ->type_name("GENERATION");
  AddTtlFlag(command, options.ttl, "Time to live from now, such as 10m or 1h30m")->required();
}

ExitCode Run(const RenewOptions& options, Session& session) {
  v1::RenewRoutingRequest request;
  *request.mutable_ttl() = *notation::ParseDuration(options.ttl);
  if (options.generation) {
    request.set_generation(*options.generation);
  } else {
    const auto routing = session.rpc().GetRouting({});
    if (!routing.ok()) return session.Fail(routing.status());
    request.set_generation(routing->current().generation());
  }
  const auto text = [&request](const v1::RenewRoutingResponse& response, const render::Style&) {
    return absl::StrCat("renewed: generation ", request.generation(), ", until ",
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
