#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct ExplainOptions {
  std::vector<std::string> units;
  std::string plan;
};

void Flags(CLI::App& command, ExplainOptions& options) {
  command.add_option("units", options.units, "Unit ids; - = stdin, one on each line")
      ->required()
      ->check(IsUtf8())
      ->type_name("UNIT");
  command
      .add_option("--plan", options.plan,
                  "Use this plan (a RoutingPlan in JSON) instead of the current one")
      ->type_name("FILE");
}

absl::StatusOr<std::vector<std::string>> Units(const ExplainOptions& options, Session& session) {
  std::vector<std::string> units;
  for (const std::string& argument : options.units) {
    if (argument != "-") {
      units.push_back(argument);
      continue;
    }
    const auto text = session.TextOrInput("-");
    if (!text.ok()) return text.status();
    for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      units.emplace_back(absl::StripSuffix(line, "\r"));
    }
  }
  return units;
}

// As many calls as the size of one allows.
absl::StatusOr<v1::ExplainAssignmentResponse> Explain(const std::vector<std::string>& units,
                                                      v1::ExplainAssignmentRequest request,
                                                      Session& session) {
  constexpr size_t kUnitsPerCall = 1000;
  v1::ExplainAssignmentResponse all;
  for (size_t begin = 0; begin < units.size(); begin += kUnitsPerCall) {
    const size_t end = std::min(units.size(), begin + kUnitsPerCall);
    request.clear_unit_ids();
    for (size_t unit = begin; unit < end; ++unit) request.add_unit_ids(units[unit]);
    auto part = session.rpc().ExplainAssignment(request);
    if (!part.ok()) return part.status();
    all.MergeFrom(*part);
  }
  return all;
}

// On stderr: how the units are spread.
std::string Spread(const v1::ExplainAssignmentResponse& response) {
  std::map<std::string, int> arms;
  for (const auto& assignment : response.assignments()) ++arms[assignment.arm_id()];
  std::string text = absl::StrCat("[", response.assignments_size(), " units:");
  const char* separator = " ";
  for (const auto& [arm, count] : arms) {
    absl::StrAppend(&text, separator, arm, " ",
                    render::FormatFixed(100.0 * count / response.assignments_size(), 1), "%");
    separator = ", ";
  }
  return text + "]\n";
}

ExitCode Run(const ExplainOptions& options, Session& session) {
  v1::ExplainAssignmentRequest request;
  if (!options.plan.empty()) {
    auto plan = ReadPlan(options.plan, session);
    if (!plan.ok()) return session.UsageError(plan.status());
    *request.mutable_plan() = *std::move(plan);
  }
  const auto units = Units(options, session);
  if (!units.ok()) return session.UsageError(units.status());
  const auto response = Explain(*units, request, session);
  if (!response.ok()) return session.Fail(response.status());
  if (session.options().json) return session.PrintJson(*response);
  render::Table table({{"UNIT"}, {"BUCKET", render::Table::Align::kRight}, {"ARM"}});
  for (const auto& assignment : response->assignments()) {
    table.AddRow({render::OneLine(assignment.unit_id()), absl::StrCat(assignment.bucket()),
                  assignment.arm_id()});
  }
  session.out() << table.Render(session.out_style());
  if (response->assignments_size() > 1) session.err() << Spread(*response);
  return ExitCode::kOk;
}

}  // namespace

void AddExplain(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<ExplainOptions>(app, chosen, "explain", "Show which arm each unit gets", Flags, Run);
}

}  // namespace olmoe::client::commands
