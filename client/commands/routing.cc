#include <ostream>

#include "client/commands/command.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client {
namespace {

struct RoutingOptions {};

void Flags(CLI::App&, RoutingOptions&) {}

ExitCode Run(const RoutingOptions&, Session& session) {
  const auto routing = session.rpc().GetRouting({});
  if (!routing.ok()) return session.Fail(routing.status());
  if (session.options().json) return session.PrintJson(*routing);
  session.out() << RenderPlan(routing->current(), session.out_style());
  for (const v1::PlanRecord& record : routing->draining()) {
    session.out() << "\ndraining: " << RenderPlan(record, session.out_style());
  }
  return ExitCode::kOk;
}

}  // namespace

void AddRouting(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RoutingOptions>(app, chosen, "routing", "The current plan, and those that drain",
                             Flags, Run);
}

}  // namespace olmoe::client
