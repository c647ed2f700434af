#include <ostream>

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
  command.add_flag("--watch", options.watch, "Go on: every change, and when an old plan drains");
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

ExitCode Run(const RoutingOptions& options, Session& session) {
  if (options.watch) return Watch(session);
  const auto routing = session.rpc().GetRouting({});
  if (!routing.ok()) return session.Fail(routing.status());
  if (session.options().json) return session.PrintJson(*routing);
  session.out() << render::RenderPlan(routing->current(), session.out_style());
  for (const v1::PlanRecord& record : routing->draining()) {
    session.out() << "\ndraining: " << render::RenderPlan(record, session.out_style());
  }
  return ExitCode::kOk;
}

}  // namespace

void AddRouting(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RoutingOptions>(app, chosen, "routing", "The current plan, and those that drain",
                             Flags, Run);
}

}  // namespace olmoe::client::commands
