#include <ostream>
#include <string>
#include <vector>

#include "client/commands/command.h"
#include "client/render/table.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::commands {
namespace {

struct HealthOptions {
  std::string service;
};

void Flags(CLI::App& command, HealthOptions& options) {
  command
      .add_option("service", options.service,
                  "olmoe.v1.InferenceService, or olmoe.v1.RoutingAdminService on the admin port; "
                  "default: the process and InferenceService")
      ->check(IsUtf8())
      ->type_name("SERVICE");
}

ExitCode Run(const HealthOptions& options, Session& session) {
  std::vector<std::string> services = {"", "olmoe.v1.InferenceService"};
  if (!options.service.empty()) services = {options.service};
  render::Table table({{"SERVICE"}, {"HEALTH"}});
  auto json = nlohmann::json::object();
  ExitCode code = ExitCode::kOk;
  for (const std::string& service : services) {
    const auto health = session.rpc().CheckHealth(service);
    if (!health.ok()) return session.Fail(health.status());
    if (*health != "SERVING") code = ExitCode::kUnreachable;
    table.AddRow({service.empty() ? "(process)" : service, *health});
    json[service] = *health;
  }
  if (session.options().json) {
    session.out() << json.dump() << '\n';
  } else {
    session.out() << table.Render(session.out_style());
  }
  return code;
}

}  // namespace

void AddHealth(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<HealthOptions>(app, chosen, "health",
                            "Check whether the server is ready: exit code 0, else 3", Flags, Run);
}

}  // namespace olmoe::client::commands
