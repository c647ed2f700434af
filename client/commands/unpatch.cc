#include <cstdint>
#include <optional>
#include <string>

#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct UnpatchOptions {
  std::optional<uint64_t> expect;
  std::string wait;
};

void Flags(CLI::App& command, UnpatchOptions& options) {
  AddExpectFlag(command, options.expect);
  AddWaitFlag(command, options.wait);
}

ExitCode Run(const UnpatchOptions& options, Session& session) {
  v1::UnpatchRoutersRequest request;
  if (options.expect) request.set_expected_generation(*options.expect);
  if (!options.wait.empty()) *request.mutable_wait_for_drain() = WaitDuration(options.wait);
  const auto text = [](const v1::PatchRoutersResponse& response, const render::Style& style) {
    return render::RenderPatch(response, /*num_layers=*/0, style);
  };
  return session.PrintReply(session.rpc().UnpatchRouters(request), text);
}

}  // namespace

void AddUnpatch(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<UnpatchOptions>(app, chosen, "unpatch", "Go back to the model's own routing", Flags,
                             Run);
}

}  // namespace olmoe::client::commands
