#include <algorithm>
#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/notation/number_list.h"
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

constexpr char kDiffHelp[] =
    "Cells tell how the load of an expert differs between the arms. TV and JS tell how\n"
    "far the arms are apart in a layer, from 0 (the same) to 1: total variation, and\n"
    "Jensen-Shannon divergence in bits. The experts listed below are those whose share\n"
    "of a layer's tokens differs most.\n";

// Which statistics are asked for.
struct Filter {
  std::string layers, kind, phase, since;
  bool all = false;  // also of earlier plans
};

struct ExpertsOptions {
  Filter filter;
  std::vector<std::string> arms, policies;
  std::string format;
  bool watch = false;
  std::string interval = "1s";
};

struct DiffOptions {
  Filter filter;
  std::string a, b;
  int top = 10;
};

void FilterFlags(CLI::App& command, Filter& filter) {
  command.add_option("--layers", filter.layers, "Show only these layers: 0-3,7")
      ->type_name("LAYERS");
  command
      .add_option("--kind", filter.kind,
                  "applied: experts that ran; analyzed: those that an analyzed rule would have run")
      ->check(CLI::IsMember({"applied", "analyzed"}));
  command.add_option("--phase", filter.phase, "Show only this phase; default: the sum of all")
      ->check(CLI::IsMember({"prefill", "decode", "score"}));
  command
      .add_option(
          "--since", filter.since,
          "Count only the last while, such as 5m (1s to 24h), or what came after the cursor "
          "that an earlier --json printed")
      ->check(IsUtf8())
      ->type_name("TIME|CURSOR");
  command.add_flag("--all", filter.all,
                   "Show policies of earlier plans too; default: those of the current plan");
}

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
  FilterFlags(command, options.filter);
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

void DiffFlags(CLI::App& command, DiffOptions& options) {
  command.footer(kDiffHelp);
  command
      .add_option("from", options.a,
                  "An arm of the current plan, or ARM:POLICY for one that it had earlier")
      ->required()
      ->check(IsUtf8())
      ->type_name("ARM");
  command.add_option("to", options.b, "The other arm")
      ->required()
      ->check(IsUtf8())
      ->type_name("ARM");
  FilterFlags(command, options.filter);
  AddNumber(command, "--top", options.top, "List this many experts", {.least = 0})
      ->capture_default_str();
}

absl::StatusOr<v1::GetExpertStatsRequest> BuildRequest(const Filter& filter) {
  v1::GetExpertStatsRequest request;
  if (!filter.layers.empty()) {
    const auto layers = notation::ParseLayers(filter.layers);
    if (!layers.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--layers: ", layers.status().message()));
    }
    request.mutable_layers()->Add(layers->begin(), layers->end());
  }
  if (filter.kind == "applied") request.add_kinds(v1::DECISION_KIND_APPLIED);
  if (filter.kind == "analyzed") request.add_kinds(v1::DECISION_KIND_ANALYZED);
  request.set_current_plan(!filter.all);
  if (filter.since.empty()) return request;
  if (auto since = notation::ParseDuration(filter.since); since.ok()) {
    *request.mutable_since() = *std::move(since);
  } else if (absl::StrContains(filter.since, '-')) {
    request.set_since_cursor(filter.since);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("--since: ", since.status().message(), ", and no cursor"));
  }
  return request;
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

// On stderr: of which plans, and of which time.
std::string Extent(const v1::GetExpertStatsResponse& response, bool all) {
  return absl::StrCat("[",
                      all ? "all plans" : "the current plan's policies (--all: earlier ones too)",
                      ", ", render::FormatTime(response.start_time()), " to ",
                      render::FormatTime(response.end_time()), "]");
}

// The request cannot name a phase.
void KeepPhase(const Filter& filter, v1::GetExpertStatsResponse* response) {
  if (filter.phase.empty()) return;
  const v1::Phase wanted = filter.phase == "prefill"  ? v1::PHASE_PREFILL
                           : filter.phase == "decode" ? v1::PHASE_DECODE
                                                      : v1::PHASE_SCORE;
  auto& arms = *response->mutable_arms();
  for (int i = arms.size() - 1; i >= 0; --i) {
    if (arms[i].phase() != wanted) arms.DeleteSubrange(i, 1);
  }
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
  KeepPhase(options.filter, &delta);
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
  auto request = BuildRequest(options.filter);
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
  KeepPhase(options.filter, &*response);
  const std::string format = Format(options, session);
  if (format == "json") return session.PrintJson(*response);
  Print(*response, format, session);
  session.err() << session.err_style().Dim(Extent(*response, all)) << '\n';
  return ExitCode::kOk;
}

ExitCode Diff(const DiffOptions& options, Session& session) {
  Filter filter = options.filter;
  if (filter.kind.empty()) filter.kind = "applied";  // not a sum of both
  // A policy is named where the arm has had another one since.
  filter.all = filter.all || absl::StrContains(options.a, ':') || absl::StrContains(options.b, ':');
  const auto request = BuildRequest(filter);
  if (!request.ok()) return session.UsageError(request.status());
  auto response = session.rpc().GetExpertStats(*request);
  if (!response.ok()) return session.Fail(response.status());
  KeepPhase(filter, &*response);
  const std::vector<v1::ArmExpertStats> arms = render::SumPhases(*response);
  const auto a = render::FindArm(arms, options.a);
  if (!a.ok()) return session.Fail(a.status());
  const auto b = render::FindArm(arms, options.b);
  if (!b.ok()) return session.Fail(b.status());
  if (session.options().json) {
    v1::GetExpertStatsResponse both = *response;
    both.clear_arms();
    *both.add_arms() = *a;
    *both.add_arms() = *b;
    return session.PrintJson(both);
  }
  session.out() << render::RenderExpertDiff(*a, *b, options.top, session.out_style());
  session.err() << session.err_style().Dim(Extent(*response, filter.all)) << '\n';
  return ExitCode::kOk;
}

}  // namespace

void AddExperts(CLI::App& app, ChosenCommand& chosen) {
  CLI::App* experts = AddCommand<ExpertsOptions>(app, chosen, "experts",
                                                 "Show which experts work, by layer", Flags, Run);
  AddCommand<DiffOptions>(*experts, chosen, "diff", "Show how two arms use the experts differently",
                          DiffFlags, Diff);
}

}  // namespace olmoe::client::commands
