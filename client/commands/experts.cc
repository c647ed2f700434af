#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/notation/number_list.h"
#include "client/render/expert_stats.h"
#include "client/render/experts.h"
#include "client/render/format.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

// Which statistics are asked for.
struct Filter {
  std::string layers, kind, phase, since;
};

struct ExpertsOptions {
  Filter filter;
  std::vector<std::string> arms;
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
      .add_option("--since", filter.since,
                  "Count only what came after this cursor, which an earlier --json printed")
      ->check(IsUtf8())
      ->type_name("CURSOR");
}

void Flags(CLI::App& command, ExpertsOptions& options) {
  command.require_subcommand(0, 1);
  command.add_option("--arm", options.arms, "Show only this arm; may be given several times")
      ->allow_extra_args(false)
      ->check(IsUtf8());
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
  command.add_option("from", options.a, "ARM, or ARM:POLICY where it has had several")
      ->required()
      ->check(IsUtf8())
      ->type_name("ARM");
  command.add_option("to", options.b, "The other arm")
      ->required()
      ->check(IsUtf8())
      ->type_name("ARM");
  FilterFlags(command, options.filter);
  command.add_option("--top", options.top, "List this many experts")
      ->check(CLI::NonNegativeNumber)
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
  request.set_since_cursor(filter.since);
  return request;
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
  if (arms.empty()) session.err() << "no statistics yet\n";
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
        PrintDelta(event.delta(), options, session);
        return session.out().flush().good();
      });
  if (!session.out().good()) return ExitCode::kFailed;
  return status.ok() ? ExitCode::kOk : session.Fail(status);
}

ExitCode Run(const ExpertsOptions& options, Session& session) {
  auto request = BuildRequest(options.filter);
  if (!request.ok()) return session.UsageError(request.status());
  request->mutable_arm_ids()->Add(options.arms.begin(), options.arms.end());
  if (options.watch) return Watch(options, *request, session);
  auto response = session.rpc().GetExpertStats(*request);
  if (!response.ok()) return session.Fail(response.status());
  KeepPhase(options.filter, &*response);
  const std::string format = Format(options, session);
  if (format == "json") return session.PrintJson(*response);
  Print(*response, format, session);
  return ExitCode::kOk;
}

ExitCode Diff(const DiffOptions& options, Session& session) {
  Filter filter = options.filter;
  if (filter.kind.empty()) filter.kind = "applied";  // not a sum of both
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
