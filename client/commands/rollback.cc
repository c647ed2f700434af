#include <cstdint>
#include <optional>
#include <ostream>

#include "client/commands/command.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct RollbackOptions {
  std::optional<uint64_t> generation, expect;
};

void Flags(CLI::App& command, RollbackOptions& options) {
  command
      .add_option("generation", options.generation,
                  "Whose plan to go back to (see history); without: the one before the current")
      ->type_name("GENERATION");
  command.add_option("--expect", options.expect, "Refuse unless this generation is current")
      ->type_name("GENERATION");
}

ExitCode Run(const RollbackOptions& options, Session& session) {
  v1::RollbackRoutingRequest request;
  if (options.generation) request.set_to_generation(*options.generation);
  if (options.expect) request.set_expected_generation(*options.expect);
  const auto response = session.rpc().RollbackRouting(request);
  if (!response.ok()) return session.Fail(response.status());
  if (session.options().json) return session.PrintJson(*response);
  session.out() << render::RenderPatch(*response, /*num_layers=*/0, session.out_style());
  return ExitCode::kOk;
}

}  // namespace

void AddRollback(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RollbackOptions>(app, chosen, "rollback", "Back to an earlier plan", Flags, Run);
}

}  // namespace olmoe::client::commands
