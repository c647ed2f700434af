#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/evaluation.h"
#include "client/eval/budget.h"
#include "client/eval/sweep_report.h"
#include "client/notation/policy_grid.h"
#include "client/notation/policy_spec.h"

namespace olmoe::client::commands {
namespace {

constexpr char kHelp[] =
    "Every policy is evaluated as `olmoectl eval` does it, on the same windows. A policy is "
    "marked\n"
    "in PARETO where no other one has as small a loss for as few activations, and one of them\n"
    "smaller. --budget takes the loss increases of single layers to add up, finds the k of each\n"
    "layer that then costs least, and evaluates that plan; what is printed for `olmoectl patch`\n"
    "was chosen on these texts, so judge it on others.\n";

struct SweepOptions {
  EvaluationFlags evaluation;
  std::vector<std::string> grids;
  bool layer_sensitivity = false;
  std::string layer_ks;
  std::optional<uint64_t> budget;

  bool by_layer() const { return layer_sensitivity || budget.has_value(); }
};

void Flags(CLI::App& command, SweepOptions& options) {
  command.footer(std::string(kHelp) + notation::PolicyGridHelp() + notation::PolicySpecHelp());
  AddEvaluationFlags(command, options.evaluation);
  command
      .add_option("--grid", options.grids,
                  "Policies to compare with the model's own routing, as a GRID; see below")
      ->check(IsUtf8())
      ->type_name("GRID");
  command.add_option("--policy", options.evaluation.policies, "Another policy to compare")
      ->check(IsUtf8())
      ->type_name("SPEC");
  command.add_flag("--layer-sensitivity", options.layer_sensitivity,
                   "Evaluate each layer alone at each k of --layer-k");
  command
      .add_option("--layer-k", options.layer_ks,
                  "Numbers of experts for a layer: 1..4,8; default: 1 to the model's own")
      ->type_name("LIST");
  AddNumber(command, "--budget", options.budget,
            "Find the k of each layer, of --layer-k, that loses least where all of them together "
            "are N",
            {.least = 1});
}

// Of one layer, or of several.
void SetLayers(std::vector<uint32_t> layers, uint32_t k, v1::RoutingPolicy* policy) {
  const notation::RuleSpec spec{.rule = {routing::TopK{k}}, .layers = std::move(layers)};
  notation::AddRule(spec, policy).IgnoreError();  // no layer has a rule yet
}

v1::RoutingPolicy SingleLayer(uint32_t layer, uint32_t k) {
  v1::RoutingPolicy policy;
  SetLayers({layer}, k, &policy);
  policy.set_policy_id(notation::DefaultPolicyId(policy));
  return policy;
}

// The model's own k needs no rule.
v1::RoutingPolicy PolicyOfPlan(const std::vector<uint32_t>& ks, uint32_t default_k,
                               const std::string& name) {
  std::map<uint32_t, std::vector<uint32_t>> layers;
  for (uint32_t layer = 0; layer < ks.size(); ++layer) layers[ks[layer]].push_back(layer);
  v1::RoutingPolicy policy;
  policy.set_policy_id(name);
  for (auto& [k, of_k] : layers) {
    if (k != default_k) SetLayers(std::move(of_k), k, &policy);
  }
  return policy;
}

// Unless it is there. INVALID_ARGUMENT for a SPEC that is none.
absl::Status AddSubject(const std::string& spec, std::vector<eval::Subject>* subjects) {
  auto subject = ParseSubject(spec);
  if (!subject.ok()) return subject.status();
  const bool known =
      std::any_of(subjects->begin(), subjects->end(), [&](const eval::Subject& other) {
        return other.selector.SerializeAsString() == subject->selector.SerializeAsString();
      });
  if (!known) subjects->push_back(*std::move(subject));
  return absl::OkStatus();
}

// The model's own routing first.
absl::StatusOr<std::vector<eval::Subject>> ReadSubjects(const SweepOptions& options) {
  std::vector<std::string> specs = {"native"};
  for (const std::string& grid : options.grids) {
    const auto expanded = notation::ExpandGrid(grid);
    if (!expanded.ok()) return expanded.status();
    specs.insert(specs.end(), expanded->begin(), expanded->end());
  }
  specs.insert(specs.end(), options.evaluation.policies.begin(), options.evaluation.policies.end());
  std::vector<eval::Subject> subjects;
  for (const std::string& spec : specs) {
    if (auto status = AddSubject(spec, &subjects); !status.ok()) return status;
  }
  if (auto status = CheckNames(subjects); !status.ok()) return status;
  return subjects;
}

absl::Status CheckOptions(const SweepOptions& options) {
  if (options.evaluation.data.size() != 1) {
    return absl::InvalidArgumentError("sweep: --data must be one file");
  }
  if (!options.layer_ks.empty() && !options.by_layer()) {
    return absl::InvalidArgumentError("sweep: --layer-k needs --layer-sensitivity or --budget");
  }
  if (options.grids.empty() && options.evaluation.policies.empty() && !options.by_layer()) {
    return absl::InvalidArgumentError(
        "sweep: what to compare is missing: --grid, --policy, --layer-sensitivity or --budget");
  }
  return absl::OkStatus();
}

// The ks of --layer-k; checks them, and the budget, against the model.
absl::StatusOr<std::vector<uint32_t>> LayerKs(const SweepOptions& options,
                                              const v1::GetModelInfoResponse& model) {
  std::vector<uint32_t> ks(model.default_top_k());
  std::iota(ks.begin(), ks.end(), 1);
  if (!options.layer_ks.empty()) {
    auto parsed = notation::ParseCounts(options.layer_ks);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("sweep: --layer-k: ", parsed.status().message()));
    }
    ks = *std::move(parsed);
  }
  if (ks.empty() || ks.back() > model.num_experts()) {
    return absl::InvalidArgumentError(
        absl::StrCat("sweep: --layer-k must be numbers from 1 to the model's ", model.num_experts(),
                     " experts, is ", options.layer_ks));
  }
  if (!options.budget) return ks;
  const absl::Status status = eval::CheckBudget(model.num_layers(), ks, *options.budget);
  if (status.ok()) return ks;
  return absl::InvalidArgumentError(absl::StrCat("sweep: --budget: ", status.message()));
}

// The runs of a sweep. The first has the model's own routing: the others are compared with it.
// Thread-compatible.
class Sweep {
 public:
  explicit Sweep(Evaluation* evaluation)
      : evaluation_(evaluation), dataset_(evaluation->datasets().front()) {
    sweep_.report = evaluation->EmptyReport();
  }

  // Evaluates the policies, as rows of the report.
  absl::Status AddRows(const std::vector<eval::Subject>& subjects) {
    for (const eval::Subject& subject : subjects) {
      auto results = evaluation_->Run(dataset_, subject);
      if (!results.ok()) return results.status();
      const bool is_first = first_.empty();
      if (is_first) first_ = results->units;
      sweep_.report.rows.push_back(eval::MakeRow(dataset_, subject, first_, *std::move(results),
                                                 is_first, sweep_.report.seed));
    }
    return absl::OkStatus();
  }

  // `subjects`: for each layer, in its order, each of `ks`.
  absl::Status AddSensitivity(const std::vector<uint32_t>& ks,
                              const std::vector<eval::Subject>& subjects) {
    eval::Sensitivity& sensitivity = sweep_.sensitivity.emplace();
    sensitivity.ks = ks;
    for (size_t i = 0; i < subjects.size(); ++i) {
      const auto results = evaluation_->Run(dataset_, subjects[i]);
      if (!results.ok()) return results.status();
      eval::UnitResult sum{.units = 0};
      for (const eval::UnitResult& unit : results->units) sum.Add(unit);
      if (i % ks.size() == 0) sensitivity.losses.emplace_back();
      sensitivity.losses.back().push_back(sum.Loss());
    }
    return absl::OkStatus();
  }

  // After AddSensitivity.
  eval::BudgetPlan FindPlan(uint64_t budget) const {
    eval::LayerChoices choices{.ks = sweep_.sensitivity->ks,
                               .increase = sweep_.sensitivity->losses};
    for (std::vector<double>& losses : choices.increase) {
      for (double& loss : losses) loss -= native_loss();
    }
    return eval::BestPlan(choices, budget);
  }

  double native_loss() const { return sweep_.report.rows.front().sum.Loss(); }
  eval::SweepReport& report() { return sweep_; }

 private:
  Evaluation* const evaluation_;
  const eval::Dataset& dataset_;
  std::vector<eval::UnitResult> first_;
  eval::SweepReport sweep_;
};

std::vector<eval::Subject> SingleLayers(const std::vector<uint32_t>& ks, uint32_t num_layers) {
  std::vector<eval::Subject> subjects;
  for (uint32_t layer = 0; layer < num_layers; ++layer) {
    for (const uint32_t k : ks) subjects.push_back(SubjectOf(SingleLayer(layer, k)));
  }
  return subjects;
}

// Finds the plan and evaluates it, and the plain one of the same costs.
ExitCode AddBudget(uint64_t budget, Evaluation* evaluation, Sweep* sweep) {
  const uint32_t layers = evaluation->model().num_layers();
  const eval::BudgetPlan plan = sweep->FindPlan(budget);
  const v1::RoutingPolicy policy =
      PolicyOfPlan(plan.ks, evaluation->model().default_top_k(), absl::StrCat("budget-", budget));
  std::vector<eval::Subject> subjects = {SubjectOf(policy)};
  eval::BudgetReport report{.budget = budget,
                            .ks = plan.ks,
                            .policy = notation::FormatNamedPolicySpec(policy),
                            .predicted = sweep->native_loss() + plan.increase,
                            .plain_k = {}};
  if (budget % layers == 0) {
    report.plain_k = static_cast<uint32_t>(budget / layers);
    auto plain = ParseSubject(absl::StrCat("plain@top-k=", *report.plain_k));
    if (plain.ok()) subjects.push_back(*std::move(plain));
  }
  if (auto code = evaluation->Resolve(&subjects); code != ExitCode::kOk) return code;
  const absl::Status status = sweep->AddRows(subjects);
  if (!status.ok()) return evaluation->Fail(status);
  const std::vector<eval::ReportRow>& rows = sweep->report().report.rows;
  report.measured = rows[rows.size() - subjects.size()].sum.Loss();
  if (report.plain_k) report.plain = rows.back().sum.Loss();
  sweep->report().budget = std::move(report);
  return ExitCode::kOk;
}

ExitCode Print(const std::string& format, const eval::SweepReport& report, Session& session) {
  if (format == "json") {
    session.out() << eval::RenderJson(report, session.out_is_terminal());
  } else if (format == "csv") {
    session.out() << eval::RenderCsv(report.report);
  } else if (format == "markdown") {
    session.out() << eval::RenderMarkdown(report);
  } else {
    session.out() << eval::RenderTable(report, session.out_style());
  }
  return ExitCode::kOk;
}

ExitCode Run(const SweepOptions& options, Session& session) {
  if (auto status = CheckOptions(options); !status.ok()) return session.UsageError(status);
  Evaluation evaluation(options.evaluation, session);
  auto subjects = ReadSubjects(options);
  if (!subjects.ok()) return session.UsageError(subjects.status());
  if (auto status = evaluation.ReadFiles(); !status.ok()) return session.UsageError(status);
  if (auto code = evaluation.Connect(); code != ExitCode::kOk) return code;
  const auto ks = LayerKs(options, evaluation.model());
  if (!ks.ok()) return session.UsageError(ks.status());
  std::vector<eval::Subject> singles;
  if (options.by_layer()) singles = SingleLayers(*ks, evaluation.model().num_layers());
  if (auto code = evaluation.Resolve(&*subjects); code != ExitCode::kOk) return code;
  if (auto code = evaluation.Resolve(&singles); code != ExitCode::kOk) return code;
  if (auto code = evaluation.Tokenize(); code != ExitCode::kOk) return code;
  Sweep sweep(&evaluation);
  absl::Status status = sweep.AddRows(*subjects);
  if (status.ok() && options.by_layer()) status = sweep.AddSensitivity(*ks, singles);
  if (!status.ok()) return evaluation.Fail(status);
  if (options.budget) {
    const ExitCode code = AddBudget(*options.budget, &evaluation, &sweep);
    if (code != ExitCode::kOk) return code;
  }
  eval::FindFront(&sweep.report().report);
  return Print(evaluation.Format(), sweep.report(), session);
}

}  // namespace

void AddSweep(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<SweepOptions>(app, chosen, "sweep",
                           "Find which policy loses least for its experts, by grid or by layer",
                           Flags, Run);
}

}  // namespace olmoe::client::commands
