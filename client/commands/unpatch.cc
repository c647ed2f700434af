#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "client/commands/command.h"
#include "client/commands/wait_flag.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct UnpatchOptions {
  std::optional<uint64_t> expect;
  std::string wait;
};

void Flags(CLI::App& command, UnpatchOptions& options) {
  command.add_option("--expect", options.expect, "Refuse unless this generation is current")
      ->type_name("GENERATION");
  AddWaitFlag(command, options.wait);
}

ExitCode Run(const UnpatchOptions& options, Session& session) {
  v1::UnpatchRoutersRequest request;
  if (options.expect) request.set_expected_generation(*options.expect);
  if (!options.wait.empty()) *request.mutable_wait_for_drain() = WaitDuration(options.wait);
  const auto response = session.rpc().UnpatchRouters(request);
  if (!response.ok()) return session.Fail(response.status());
  if (session.options().json) return session.PrintJson(*response);
  session.out() << render::RenderPatch(*response, /*num_layers=*/0, session.out_style());
  return ExitCode::kOk;
}

}  // namespace

void AddUnpatch(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<UnpatchOptions>(app, chosen, "unpatch", "Back to the model's own routing", Flags,
                             Run);
}

}  // namespace olmoe::client::commands
