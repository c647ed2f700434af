#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/command.h"
#include "client/commands/expert_filter.h"
#include "client/compare/expert_differences.h"
#include "client/compare/steering.h"
#include "client/notation/policy_spec.h"
#include "client/render/expert_diff.h"
#include "client/render/expert_stats.h"
#include "client/render/format.h"
#include "nlohmann/json.hpp"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

using compare::ExpertDifference;
using nlohmann::ordered_json;

constexpr char kHelp[] =
    "Cells tell how the load of an expert differs between the two. TV and JS tell how\n"
    "far they are apart in a layer, from 0 (the same) to 1: total variation, and\n"
    "Jensen-Shannon divergence in bits. The experts listed below are those whose share\n"
    "of a layer's tokens, FROM and TO, differs most. P is that of a test of equal\n"
    "shares: chi-squared, or Fisher's exact test where an expected count is below 5.\n"
    "Q is P corrected for all experts of all layers (Benjamini-Hochberg); * marks\n"
    "Q <= ALPHA. The test takes tokens for independent. Those of one text are not, so\n"
    "P and Q are too small, the more so the fewer texts there are: compare an arm with\n"
    "its like (A/A) to see by how much. The two must not count the same tokens.\n"
    "\n"
    "A file is what `experts --json` printed. The same arm at two times:\n"
    "  olmoectl experts --json > before.json\n"
    "  olmoectl experts diff default default --from-file before.json --since CURSOR\n"
    "with the cursor that is in before.json. Prompts against generated tokens:\n"
    "  olmoectl experts diff default@prefill default@decode\n";

struct DiffOptions {
  ExpertFilter filter;
  std::string from, to, from_file, to_file;
  double alpha = 0.05;
  int top = 10;
  std::optional<uint32_t> suggest_steer, steer_k;
  std::string plan_out;
};

void Flags(CLI::App& command, DiffOptions& options) {
  command.footer(kHelp);
  const auto arm = [&](const char* name, std::string& value, const char* help) {
    command.add_option(name, value, help)->required()->check(IsUtf8())->type_name("ARM");
  };
  arm("from", options.from,
      "An arm of the current plan, or ARM:POLICY for one that it had earlier; with @PHASE behind "
      "it that phase alone");
  arm("to", options.to, "The other arm");
  AddFilterFlags(command, options.filter);
  command.add_option("--from-file", options.from_file, "Look for the first arm in this file")
      ->type_name("FILE");
  command.add_option("--to-file", options.to_file, "Look for the other arm in this file")
      ->type_name("FILE");
  AddNumber(command, "--alpha", options.alpha,
            "Mark experts so that at most this share of the marks is expected to be false", {0, 1})
      ->type_name("ALPHA")
      ->capture_default_str();
  AddNumber(command, "--top", options.top, "List this many experts", {.least = 0})
      ->capture_default_str();
  auto* suggest =
      AddNumber(command, "--suggest-steer", options.suggest_steer,
                "Print a policy that steers toward the N experts whose share rises most, and away "
                "from the N whose share falls most (SteerMoE)",
                {.least = 1});
  AddNumber(command, "--steer-k", options.steer_k,
            "Experts a token of that policy; default: the model's own", {.least = 1})
      ->type_name("K")
      ->needs(suggest);
  command
      .add_option("--plan-out", options.plan_out,
                  "Write that policy to this file, as `patch --plan` takes it")
      ->type_name("FILE")
      ->needs(suggest);
}

// An arm of a reading, as the command line names it.
struct Side {
  std::string arm;    // ARM or ARM:POLICY
  std::string phase;  // "" = all
  std::string file;   // "" = the server's
};

absl::StatusOr<Side> ParseSide(const std::string& operand, const std::string& file,
                               const std::string& phase) {
  const std::vector<std::string> parts = absl::StrSplit(operand, absl::MaxSplits('@', 1));
  if (parts.size() == 1) return Side{operand, phase, file};
  if (!phase.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--phase and ", operand, ": one of the two"));
  }
  if (parts[1] != "prefill" && parts[1] != "decode" && parts[1] != "score") {
    return absl::InvalidArgumentError(
        absl::StrCat(operand, ": \"", parts[1], "\" is no phase; phases: prefill, decode, score"));
  }
  return Side{parts[0], parts[1], file};
}

ordered_json ExpertJson(const ExpertDifference& one) {
  return {{"layer", one.layer},
          {"expert", one.expert},
          {"from", one.from.Share()},
          {"to", one.to.Share()},
          {"difference", one.Change()},
          {"test", one.test.exact ? "fisher" : "chi-squared"},
          {"p", one.test.p},
          {"q", one.q},
          {"significant", one.significant}};
}

ordered_json ExpertsJson(const std::vector<ExpertDifference>& experts) {
  ordered_json out = ordered_json::array();
  for (const ExpertDifference& one : experts) out.push_back(ExpertJson(one));
  return out;
}

ordered_json ComparisonJson(const render::ExpertDiff& diff) {
  std::map<uint32_t, int> significant;
  for (const ExpertDifference& one : diff.experts) {
    significant[one.layer] += one.significant ? 1 : 0;
  }
  ordered_json layers = ordered_json::array();
  for (const render::LayerDifference& layer : render::Compare(diff.from, diff.to)) {
    layers.push_back({{"layer", layer.layer},
                      {"total_variation", layer.total_variation},
                      {"jensen_shannon_bits", layer.jensen_shannon_bits},
                      {"significant", significant[layer.layer]}});
  }
  return {
      {"alpha", diff.alpha}, {"layers", std::move(layers)}, {"experts", ExpertsJson(diff.experts)}};
}

// A policy that routes more as the second arm does, and where it came from.
struct Steering {
  compare::SteerSets sets;
  uint32_t k = 0;
  v1::RoutingPolicy policy;

  v1::RoutingPlan Plan() const {
    v1::RoutingPlan plan;
    v1::Arm* arm = plan.add_arms();
    arm->set_arm_id("default");
    arm->set_weight(1);
    *arm->mutable_policy() = policy;
    return plan;
  }
};

absl::StatusOr<Steering> SuggestSteering(const DiffOptions& options,
                                         const std::vector<ExpertDifference>& experts,
                                         Session& session) {
  Steering steering;
  steering.sets = compare::ChooseSteering(experts, *options.suggest_steer);
  if (options.steer_k) {
    steering.k = *options.steer_k;
  } else {
    const auto model = session.rpc().GetModelInfo({});
    if (!model.ok()) return model.status();
    steering.k = model->default_top_k();
  }
  steering.policy = compare::SteerPolicy(steering.sets, steering.k);
  return steering;
}

std::string SetText(const std::vector<ExpertDifference>& experts) {
  const auto significant = std::count_if(experts.begin(), experts.end(),
                                         [](const auto& one) { return one.significant; });
  return absl::StrCat(experts.size(), " experts (", significant, " significant)");
}

std::string SteeringText(const Steering& steering, const std::string& plan_out) {
  std::string text =
      absl::StrCat("\nTo route more as the second: toward ", SetText(steering.sets.toward),
                   ", away from ", SetText(steering.sets.away), "\n  olmoectl patch --policy ",
                   notation::FormatNamedPolicySpec(steering.policy), "\n");
  if (!plan_out.empty()) absl::StrAppend(&text, "  olmoectl patch --plan ", plan_out, "\n");
  return text;
}

ordered_json SteeringJson(const Steering& steering) {
  return {{"k", steering.k},
          {"toward", ExpertsJson(steering.sets.toward)},
          {"away", ExpertsJson(steering.sets.away)},
          {"policy", notation::FormatNamedPolicySpec(steering.policy)},
          {"plan", ordered_json::parse(render::ToJson(steering.Plan(), /*indent=*/false))}};
}

absl::Status WritePlan(const Steering& steering, const std::string& path) {
  std::ofstream file(path);
  file << render::ToJson(steering.Plan(), /*indent=*/true) << '\n' << std::flush;
  if (file) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be written"));
}

// Both arms as GetExpertStats gives them, and what came of the comparison.
void PrintJson(const render::ExpertDiff& diff, v1::GetExpertStatsResponse reading,
               const std::optional<Steering>& steering, Session& session) {
  reading.clear_arms();
  *reading.add_arms() = diff.from;
  *reading.add_arms() = diff.to;
  ordered_json out = ordered_json::parse(render::ToJson(reading, /*indent=*/false));
  out["comparison"] = ComparisonJson(diff);
  if (steering) out["steering"] = SteeringJson(*steering);
  session.out() << out.dump(session.out_is_terminal() ? 1 : -1) << '\n';
}

// Prints the comparison, and the policy that was asked for.
ExitCode Print(const DiffOptions& options, const render::ExpertDiff& diff,
               const v1::GetExpertStatsResponse& reading, Session& session) {
  std::optional<Steering> steering;
  if (options.suggest_steer) {
    auto suggested = SuggestSteering(options, diff.experts, session);
    if (!suggested.ok()) return session.Fail(suggested.status());
    if (suggested->sets.empty()) return session.Failed("no expert's share differs: none to steer");
    steering = *std::move(suggested);
    if (!options.plan_out.empty()) {
      auto status = WritePlan(*steering, options.plan_out);
      if (!status.ok()) return session.UsageError(status);
    }
  }
  if (session.options().json) {
    PrintJson(diff, reading, steering, session);
    return ExitCode::kOk;
  }
  session.out() << render::RenderExpertDiff(diff, options.top, session.out_style());
  if (steering) session.out() << SteeringText(*steering, options.plan_out);
  return ExitCode::kOk;
}

// The arm that `side` names, of `live` or of its file.
absl::StatusOr<v1::ArmExpertStats> FindSide(const Side& side,
                                            const v1::GetExpertStatsResponse& live,
                                            const v1::GetExpertStatsRequest& request,
                                            Session& session) {
  auto reading = side.file.empty() ? live : ReadStats(side.file, request, session);
  if (!reading.ok()) return reading.status();
  KeepPhase(side.phase, &*reading);
  auto arm = render::FindArm(render::SumPhases(*reading), side.arm);
  if (arm.ok() || side.file.empty()) return arm;
  return absl::InvalidArgumentError(absl::StrCat(side.file, ": ", arm.status().message()));
}

ExitCode Run(const DiffOptions& options, Session& session) {
  ExpertFilter filter = options.filter;
  const auto from = ParseSide(options.from, options.from_file, filter.phase);
  if (!from.ok()) return session.UsageError(from.status());
  const auto to = ParseSide(options.to, options.to_file, filter.phase);
  if (!to.ok()) return session.UsageError(to.status());
  if (filter.kind.empty()) filter.kind = "applied";  // not a sum of both
  // A policy is named where the arm has had another one since.
  filter.all = filter.all || absl::StrContains(from->arm, ':') || absl::StrContains(to->arm, ':');
  const auto request = StatsRequest(filter);
  if (!request.ok()) return session.UsageError(request.status());
  v1::GetExpertStatsResponse live;
  const bool is_live = from->file.empty() || to->file.empty();
  if (is_live) {
    auto response = session.rpc().GetExpertStats(*request);
    if (!response.ok()) return session.Fail(response.status());
    live = *std::move(response);
  }
  std::vector<v1::ArmExpertStats> arms;
  for (const Side& side : {*from, *to}) {
    auto arm = FindSide(side, live, *request, session);
    if (!arm.ok() && side.file.empty()) return session.Fail(arm.status());
    if (!arm.ok()) return session.UsageError(arm.status());
    arms.push_back(*std::move(arm));
  }
  auto experts = compare::CompareExperts(arms[0], arms[1], options.alpha);
  if (!experts.ok()) return session.UsageError(experts.status());
  const ExitCode code =
      Print(options, {std::move(arms[0]), std::move(arms[1]), options.alpha, *std::move(experts)},
            live, session);
  if (code == ExitCode::kOk && is_live && !session.options().json) {
    session.err() << session.err_style().Dim(Extent(live, filter.all)) << '\n';
  }
  return code;
}

}  // namespace

void AddExpertsDiff(CLI::App& experts, ChosenCommand& chosen) {
  AddCommand<DiffOptions>(experts, chosen, "diff", "Show how two arms use the experts differently",
                          Flags, Run);
}

}  // namespace olmoe::client::commands
