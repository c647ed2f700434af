#include <algorithm>
#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands/command.h"
#include "client/commands/expert_filter.h"
#include "client/notation/duration.h"
#include "client/render/expert_stats.h"
#include "client/render/experts.h"
#include "client/render/format.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

constexpr char kHelp[] =
    "Each arm and policy is counted by itself. The table has a line for each layer:\n"
    "  MEAN K, SD  experts per token: mean and standard deviation\n"
    "  AT MIN/MAX  tokens whose number of experts was raised to min, or cut to max\n"
    "  MASS        router probability of the experts that were kept, mean over tokens\n"
    "  ENTROPY     of the router's probabilities, in nats, mean over tokens\n"
    "  LOAD        tokens of the busiest expert over the mean of all; 1 is balanced\n"
    "  JAIN        Jain's index of the loads, in (0, 1]; 1 is balanced\n"
    "  IDLE        experts without a token\n"
    "  OVERLAP     of an analyzed rule: experts that both rules keep over those that\n"
    "              either does\n"
    "The heat map has a cell for each expert, its load over the mean, and behind them\n"
    "MEAN K (k) and LOAD (max).\n";

struct ExpertsOptions {
  ExpertFilter filter;
  std::vector<std::string> arms, policies;
  std::string format;
  bool watch = false;
  std::string interval = "1s";
};

void Flags(CLI::App& command, ExpertsOptions& options) {
  command.require_subcommand(0, 1);
  command.footer(kHelp);
  command.add_option("--arm", options.arms, "Show only this arm; may be given several times")
      ->allow_extra_args(false)
      ->check(IsUtf8())
      ->type_name("ARM");
  command
      .add_option("--policy", options.policies,
                  "Show only policies of this name, also of earlier plans; may be given several "
                  "times")
      ->allow_extra_args(false)
      ->check(IsUtf8())
      ->type_name("NAME");
  AddFilterFlags(command, options.filter);
  command
      .add_option("--format", options.format,
                  "Default: heatmap on a terminal, else table; csv has one line for each expert")
      ->check(CLI::IsMember({"heatmap", "table", "csv", "json"}));
  command.add_flag("--watch", options.watch, "Go on, and show what came in each interval");
  command.add_option("--interval", options.interval, "Interval of --watch")
      ->check(notation::CheckDuration)
      ->type_name("TIME")
      ->capture_default_str();
}

// The request cannot name a policy. NOT_FOUND, with those that there are, for one that counted
// nothing.
absl::Status KeepPolicies(const std::vector<std::string>& policies,
                          v1::GetExpertStatsResponse* response) {
  if (policies.empty()) return absl::OkStatus();
  std::set<std::string> counted;
  for (const v1::ArmExpertStats& arm : response->arms()) counted.insert(arm.policy_id());
  for (const std::string& policy : policies) {
    if (counted.contains(policy)) continue;
    return absl::NotFoundError(
        absl::StrCat("no token was routed by a policy \"", policy,
                     "\"; counted are: ", counted.empty() ? "none" : absl::StrJoin(counted, ", ")));
  }
  auto& arms = *response->mutable_arms();
  for (int i = arms.size() - 1; i >= 0; --i) {
    if (std::find(policies.begin(), policies.end(), arms[i].policy_id()) == policies.end()) {
      arms.DeleteSubrange(i, 1);
    }
  }
  return absl::OkStatus();
}

// Where a call was refused that asked of the current plan alone.
std::string AllHint(const absl::Status& status, const v1::GetExpertStatsRequest& request) {
  const bool refused = status.code() == absl::StatusCode::kInvalidArgument;
  return refused && request.current_plan() && !request.arm_ids().empty()
             ? "--all also shows the arms of earlier plans"
             : "";
}

std::string Format(const ExpertsOptions& options, Session& session) {
  if (session.options().json) return "json";
  if (!options.format.empty()) return options.format;
  return session.out_is_terminal() ? "heatmap" : "table";
}

void PrintMaps(const std::vector<v1::ArmExpertStats>& arms, const std::string& format,
               Session& session) {
  const render::Style style = session.out_style();
  const char* separator = "";
  for (const v1::ArmExpertStats& arm : arms) {
    session.out() << separator
                  << (format == "heatmap" ? render::RenderExpertMap(arm, style)
                                          : render::RenderExpertTable(arm, style));
    separator = "\n";
  }
  if (arms.empty()) session.err() << "no token was counted\n";
  if (!arms.empty() && format == "heatmap") session.out() << render::RenderLoadLegend(style);
}

void Print(const v1::GetExpertStatsResponse& response, const std::string& format,
           Session& session) {
  if (format == "csv") {
    session.out() << render::ExpertCsv({response.arms().begin(), response.arms().end()});
  } else {
    PrintMaps(render::SumPhases(response), format, session);
  }
}

// A terminal shows the newest in place of the one before.
void PrintDelta(v1::GetExpertStatsResponse delta, const ExpertsOptions& options, Session& session) {
  const std::string format = Format(options, session);
  KeepPhase(options.filter.phase, &delta);
  if (format == "json") {
    session.out() << render::ToJson(delta, /*indent=*/false) << '\n';
    return;
  }
  if (session.out_is_terminal()) session.out() << "\x1b[H\x1b[2J";
  if (format != "csv") {
    session.out() << "until " << render::FormatTime(delta.end_time()) << ", every "
                  << options.interval << "; Ctrl-C ends\n";
  }
  Print(delta, format, session);
}

ExitCode Watch(const ExpertsOptions& options, const v1::GetExpertStatsRequest& filter,
               Session& session) {
  v1::WatchExpertStatsRequest request;
  *request.mutable_filter() = filter;
  *request.mutable_interval() = *notation::ParseDuration(options.interval);
  const absl::Status status =
      session.rpc().WatchExpertStats(request, [&](const v1::WatchExpertStatsResponse& event) {
        v1::GetExpertStatsResponse delta = event.delta();
        // A policy may count nothing in an interval.
        if (!KeepPolicies(options.policies, &delta).ok()) delta.clear_arms();
        PrintDelta(std::move(delta), options, session);
        return session.out().flush().good();
      });
  if (!session.out().good()) return ExitCode::kFailed;
  return status.ok() ? ExitCode::kOk : session.Fail(status, AllHint(status, filter));
}

ExitCode Run(const ExpertsOptions& options, Session& session) {
  auto request = StatsRequest(options.filter);
  if (!request.ok()) return session.UsageError(request.status());
  request->mutable_arm_ids()->Add(options.arms.begin(), options.arms.end());
  const bool all = options.filter.all || !options.policies.empty();
  request->set_current_plan(!all);
  if (options.watch) return Watch(options, *request, session);
  auto response = session.rpc().GetExpertStats(*request);
  if (!response.ok()) {
    return session.Fail(response.status(), AllHint(response.status(), *request));
  }
  if (auto status = KeepPolicies(options.policies, &*response); !status.ok()) {
    return session.Fail(status);
  }
  KeepPhase(options.filter.phase, &*response);
  const std::string format = Format(options, session);
  if (format == "json") return session.PrintJson(*response);
  Print(*response, format, session);
  session.err() << session.err_style().Dim(Extent(*response, all)) << '\n';
  return ExitCode::kOk;
}

}  // namespace

void AddExperts(CLI::App& app, ChosenCommand& chosen) {
  CLI::App* experts = AddCommand<ExpertsOptions>(app, chosen, "experts",
                                                 "Show which experts work, by layer", Flags, Run);
  AddExpertsDiff(*experts, chosen);
}

}  // namespace olmoe::client::commands
