#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/evaluation.h"
#include "client/eval/item_file.h"
#include "client/eval/report.h"
#include "client/notation/policy_spec.h"

namespace olmoe::client::commands {
namespace {

constexpr char kHelp[] =
    "A .jsonl file holds multiple-choice questions {context, continuations, label} in lines; any\n"
    "other file is text, its documents separated by lines <|endoftext|>. Without --window every\n"
    "document is scored by itself, from the document start, in windows of the model's context.\n"
    "With --window W --stride S a file is one stream, <|endoftext|> between its documents: a "
    "window\n"
    "runs tokens iS..iS+W-1 and predicts those after them that no earlier window predicted.\n"
    "LOSS is nats per predicted token (of questions: per token of the right answer), PPL its\n"
    "exponential, EXPERTS the mean per token and layer, ACTIVATIONS that of all layers. ACC NORM\n"
    "compares log-probability per byte, a continuation's first space not counted. Intervals are\n"
    "paired bootstrap intervals over units: windows, documents, questions. ANALYZED is EXPERTS of\n"
    "an analyzed rule, OVERLAP the experts that both rules select over those that either "
    "selects.\n";

struct EvalOptions {
  EvaluationFlags evaluation;
  std::vector<std::string> arms;
  std::string per_item;
};

void Flags(CLI::App& command, EvalOptions& options) {
  command.footer(std::string(kHelp) + notation::PolicySpecHelp());
  EvaluationFlags& evaluation = options.evaluation;
  AddEvaluationFlags(command, evaluation);
  command
      .add_option("--policy", evaluation.policies,
                  "A routing policy; the others are compared with the first. Default: what the "
                  "server routes with")
      ->check(IsUtf8())
      ->type_name("SPEC");
  command
      .add_option("--arm", options.arms,
                  "An arm of the server's plan, which must allow it; comes after the policies")
      ->check(IsUtf8())
      ->type_name("ARM");
  command.add_flag("--experts", evaluation.count_experts,
                   "Count the selections of every expert, by layer, into the JSON");
  command
      .add_option("--per-item", options.per_item,
                  "Write the numbers of each window, document or question under each policy into "
                  "this file, as JSON lines")
      ->type_name("FILE");
}

absl::StatusOr<std::vector<eval::Subject>> ReadSubjects(const EvalOptions& options) {
  std::vector<eval::Subject> subjects;
  for (const std::string& spec : options.evaluation.policies) {
    auto subject = ParseSubject(spec);
    if (!subject.ok()) return subject.status();
    subjects.push_back(*std::move(subject));
  }
  for (const std::string& arm : options.arms) {
    eval::Subject& subject = subjects.emplace_back();
    subject.name = absl::StrCat("arm ", arm);
    subject.routing = subject.name;
    subject.selector.set_arm_id(arm);
  }
  if (subjects.empty()) subjects.push_back({.name = "served", .routing = "the server's plan"});
  if (auto status = CheckNames(subjects); !status.ok()) return status;
  return subjects;
}

// Runs every data set under every subject and fills in the report. `items` may be null.
absl::Status Evaluate(const std::vector<eval::Subject>& subjects, Evaluation* evaluation,
                      eval::ItemFile* items, eval::Report* report) {
  for (const eval::Dataset& dataset : evaluation->datasets()) {
    std::vector<eval::UnitResult> first;
    for (const eval::Subject& subject : subjects) {
      auto results = evaluation->Run(dataset, subject);
      if (!results.ok()) return results.status();
      if (items != nullptr) {
        const uint32_t layers = evaluation->model().num_layers();
        auto status = items->Add(dataset, subject, results->units, layers);
        if (!status.ok()) return status;
      }
      const bool is_first = first.empty();
      if (is_first) first = results->units;
      report->rows.push_back(
          eval::MakeRow(dataset, subject, first, *std::move(results), is_first, report->seed));
    }
  }
  return absl::OkStatus();
}

ExitCode Print(const std::string& format, const eval::Report& report, Session& session) {
  if (format == "json") {
    session.out() << eval::RenderJson(report, session.out_is_terminal());
  } else if (format == "csv") {
    session.out() << eval::RenderCsv(report);
  } else if (format == "markdown") {
    session.out() << eval::RenderMarkdown(report);
  } else {
    session.out() << eval::RenderTable(report, session.out_style());
  }
  return ExitCode::kOk;
}

ExitCode Run(const EvalOptions& options, Session& session) {
  Evaluation evaluation(options.evaluation, session);
  const std::string format = evaluation.Format();
  if (options.evaluation.count_experts && format != "json") {
    return session.UsageError(absl::InvalidArgumentError(
        absl::StrCat("eval: --experts needs --format json: a ", format, " has no place for them")));
  }
  auto subjects = ReadSubjects(options);
  if (!subjects.ok()) return session.UsageError(subjects.status());
  if (auto status = evaluation.ReadFiles(); !status.ok()) return session.UsageError(status);
  if (auto code = evaluation.Connect(); code != ExitCode::kOk) return code;
  if (auto code = evaluation.Resolve(&*subjects); code != ExitCode::kOk) return code;
  if (auto code = evaluation.Tokenize(); code != ExitCode::kOk) return code;
  std::unique_ptr<eval::ItemFile> items;
  if (!options.per_item.empty()) {
    auto created = eval::ItemFile::Create(options.per_item);
    if (!created.ok()) return session.UsageError(created.status());
    items = *std::move(created);
  }
  eval::Report report = evaluation.EmptyReport();
  const absl::Status status = Evaluate(*subjects, &evaluation, items.get(), &report);
  return status.ok() ? Print(format, report, session) : evaluation.Fail(status);
}

}  // namespace

void AddEval(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<EvalOptions>(app, chosen, "eval",
                          "Compare routing policies by perplexity and accuracy", Flags, Run);
}

}  // namespace olmoe::client::commands
