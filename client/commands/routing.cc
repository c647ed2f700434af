#include <ostream>
#include <string>

#include "client/commands/command.h"
#include "client/render/format.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct RoutingOptions {
  bool watch = false;
};

void Flags(CLI::App& command, RoutingOptions& options) {
  command.add_flag("--watch", options.watch,
                   "Go on, and print every change and every older plan that has drained");
}

ExitCode Watch(Session& session) {
  const absl::Status status =
      session.rpc().WatchRouting([&session](const v1::WatchRoutingResponse& event) {
        if (session.options().json) {
          session.out() << render::ToJson(event, /*indent=*/false) << '\n';
        } else if (event.has_current()) {
          session.out() << render::RenderPlan(event.current(), session.out_style()) << '\n';
        } else {
          session.out() << "drained: generation " << event.drained_generation() << "\n\n";
        }
        return session.out().flush().good();
      });
  if (!session.out().good()) return ExitCode::kFailed;
  return status.ok() ? ExitCode::kOk : session.Fail(status);
}

std::string RenderPlans(const v1::GetRoutingResponse& routing, const render::Style& style) {
  std::string text = render::RenderPlan(routing.current(), style);
  for (const v1::PlanRecord& record : routing.draining()) {
    text += "\ndraining: " + render::RenderPlan(record, style);
  }
  return text;
}

ExitCode Run(const RoutingOptions& options, Session& session) {
  if (options.watch) return Watch(session);
  return session.PrintReply(session.rpc().GetRouting({}), RenderPlans);
}

}  // namespace

void AddRouting(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RoutingOptions>(app, chosen, "routing", "Show the current plan, and those that drain",
                             Flags, Run);
}

}  // namespace olmoe::client::commands
