#include <cstdint>
#include <optional>
#include <string>

#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/notation/duration.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct RollbackOptions {
  std::optional<uint64_t> generation, expect;
  std::string ttl;
};

void Flags(CLI::App& command, RollbackOptions& options) {
  AddNumber(command, "generation", options.generation,
            "Generation to go back to (see history); default: the one before the current")
      ->type_name("GENERATION");
  AddExpectFlag(command, options.expect);
  AddTtlFlag(command, options.ttl,
             "Undo the rollback after this time, such as 10m; without, the plan stays until it is "
             "replaced, although it had a time to live before");
}

ExitCode Run(const RollbackOptions& options, Session& session) {
  v1::RollbackRoutingRequest request;
  if (options.generation) request.set_to_generation(*options.generation);
  if (options.expect) request.set_expected_generation(*options.expect);
  if (!options.ttl.empty()) *request.mutable_ttl() = *notation::ParseDuration(options.ttl);
  const auto text = [](const v1::PatchRoutersResponse& response, const render::Style& style) {
    return render::RenderPatch(response, /*num_layers=*/0, style);
  };
  return session.PrintReply(session.rpc().RollbackRouting(request), text);
}

}  // namespace

void AddRollback(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RollbackOptions>(app, chosen, "rollback", "Go back to an earlier plan", Flags, Run);
}

}  // namespace olmoe::client::commands
