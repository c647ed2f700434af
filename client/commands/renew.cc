#include <cstdint>
#include <ostream>
#include <string>

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
  command.add_option("--ttl", options.ttl, "How long from now: 10m, 1h30m")
      ->required()
      ->check(notation::CheckDuration)
      ->type_name("TIME");
}

ExitCode Run(const RenewOptions& options, Session& session) {
  v1::RenewRoutingRequest request;
  request.set_generation(options.generation);
  *request.mutable_ttl() = *notation::ParseDuration(options.ttl);
  const auto response = session.rpc().RenewRouting(request);
  if (!response.ok()) return session.Fail(response.status());
  if (session.options().json) return session.PrintJson(*response);
  session.out() << "renewed: generation " << options.generation << ", until "
                << render::FormatTime(response->expire_time()) << '\n';
  return ExitCode::kOk;
}

}  // namespace

void AddRenew(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RenewOptions>(app, chosen, "renew", "Move the end of a plan's time to live", Flags,
                           Run);
}

}  // namespace olmoe::client::commands
