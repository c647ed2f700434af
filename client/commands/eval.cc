#include <algorithm>
#include <cstdint>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/eval/corpus.h"
#include "client/eval/dataset.h"
#include "client/eval/journal.h"
#include "client/eval/report.h"
#include "client/eval/runner.h"
#include "client/notation/policy_spec.h"
#include "client/render/errors.h"
#include "client/render/format.h"
#include "client/render/progress.h"
#include "client/render/routing.h"
#include "client/transport/rpc_client.h"

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
    "paired bootstrap intervals over units: windows, documents, questions.\n";

struct EvalOptions {
  std::vector<std::string> data, policies, arms;
  eval::Cutting cutting;
  bool lines = false;
  int in_flight = 8;
  std::string resume, format;
  uint64_t seed = 1;
};

void Flags(CLI::App& command, EvalOptions& options) {
  command.footer(std::string(kHelp) + notation::PolicySpecHelp());
  command.add_option("--data", options.data, "Texts and questions to evaluate on")
      ->required()
      ->type_name("FILE");
  command
      .add_option("--policy", options.policies,
                  "A routing policy; the others are compared with the first. Default: what the "
                  "server routes with")
      ->check(IsUtf8())
      ->type_name("SPEC");
  command
      .add_option("--arm", options.arms,
                  "An arm of the server's plan, which must allow it; comes after the policies")
      ->check(IsUtf8())
      ->type_name("ARM");
  AddNumber(command, "--window", options.cutting.window,
            "Tokens of a window; 0 = score each document by itself");
  AddNumber(command, "--stride", options.cutting.stride,
            "Tokens from one window to the next; default: the window's size");
  AddNumber(command, "--limit", options.cutting.limit,
            "Take only the first N windows, documents or questions of each file; 0 = all");
  command.add_flag("--lines", options.lines, "Take every line of a text as a document");
  AddNumber(command, "--in-flight", options.in_flight, "Requests at a time (1..32)", {1, 32})
      ->capture_default_str();
  command
      .add_option("--resume", options.resume, "Keep finished work in this file, and go on from it")
      ->type_name("FILE");
  AddNumber(command, "--seed", options.seed, "Seed of the bootstrap")->capture_default_str();
  command.add_option("--format", options.format, "table (default), markdown, csv or json")
      ->check(CLI::IsMember({"table", "markdown", "csv", "json"}));
}

absl::StatusOr<std::vector<eval::Subject>> ReadSubjects(const EvalOptions& options) {
  std::vector<eval::Subject> subjects;
  for (const std::string& spec : options.policies) {
    auto policy = notation::ParsePolicySpec(spec);
    if (!policy.ok()) return policy.status();
    eval::Subject& subject = subjects.emplace_back();
    subject.name = policy->policy_id();
    subject.routing = render::DescribePolicy(*policy);
    *subject.selector.mutable_policy() = *std::move(policy);
  }
  for (const std::string& arm : options.arms) {
    eval::Subject& subject = subjects.emplace_back();
    subject.name = absl::StrCat("arm ", arm);
    subject.routing = subject.name;
    subject.selector.set_arm_id(arm);
  }
  if (subjects.empty()) subjects.push_back({.name = "served", .routing = "the server's plan"});
  std::set<std::string> names;
  for (const eval::Subject& subject : subjects) {
    if (names.insert(subject.name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("eval: two policies are called \"", subject.name, "\": write NAME@SPEC"));
  }
  return subjects;
}

absl::StatusOr<std::vector<eval::Corpus>> ReadCorpora(const EvalOptions& options) {
  std::vector<eval::Corpus> corpora;
  for (const std::string& path : options.data) {
    auto corpus = eval::ReadCorpus(path, options.lines);
    if (!corpus.ok()) return corpus.status();
    corpora.push_back(*std::move(corpus));
  }
  return corpora;
}

absl::Status CheckCutting(const eval::Cutting& cutting, uint32_t max_context) {
  if (cutting.window == 0) {
    if (cutting.stride == 0) return absl::OkStatus();
    return absl::InvalidArgumentError("eval: --stride needs --window");
  }
  if (cutting.window > max_context) {
    return absl::InvalidArgumentError(absl::StrCat(
        "eval: --window must be at most the model's context of ", max_context, " tokens"));
  }
  if (cutting.stride > cutting.window) {
    return absl::InvalidArgumentError("eval: --stride must be at most --window");
  }
  return absl::OkStatus();
}

// Everything that an evaluation needs before its first window. Thread-compatible.
struct Evaluation {
  v1::GetModelInfoResponse model;
  eval::Cutting cutting;
  std::vector<eval::Subject> subjects;
  std::vector<eval::Dataset> datasets;
  std::unique_ptr<eval::Journal> journal;
};

// Asks the server about every policy; tells all that it refuses.
ExitCode ResolveSubjects(Evaluation* evaluation, Session& session) {
  ExitCode code = ExitCode::kOk;
  for (eval::Subject& subject : evaluation->subjects) {
    const absl::Status status =
        eval::ResolveSubject(transport::PrefixToken(evaluation->model), session.rpc(), &subject);
    if (status.ok()) continue;
    const std::string hint = InlinePolicyHint(status, subject.selector);
    code = session.Fail(status,
                        absl::StrCat("policy: ", subject.name, hint.empty() ? "" : "; ", hint));
    if (!hint.empty()) break;  // of the others too
    if (code == ExitCode::kUnreachable || code == ExitCode::kInterrupted) break;
  }
  return code;
}

ExitCode MakeDatasets(std::vector<eval::Corpus> corpora, Evaluation* evaluation, Session& session) {
  render::Progress progress(session.err(), session.err_is_terminal());
  for (eval::Corpus& corpus : corpora) {
    progress.Show(absl::StrCat("tokenizing ", corpus.name));
    auto dataset =
        eval::MakeDataset(std::move(corpus), evaluation->cutting, evaluation->model, session.rpc());
    if (!dataset.ok()) {
      progress.Clear();
      return session.Fail(dataset.status());
    }
    evaluation->datasets.push_back(*std::move(dataset));
  }
  return ExitCode::kOk;
}

std::string ProgressLine(const std::string& data, const std::string& policy, size_t done,
                         size_t all, double tokens_per_second) {
  constexpr size_t kWidth = 24;
  const size_t filled = all == 0 ? kWidth : done * kWidth / all;
  return absl::StrCat(data, "  ", policy, "  [", std::string(filled, '='),
                      std::string(kWidth - filled, ' '), "] ", done, " of ", all, "  ",
                      render::FormatFixed(tokens_per_second, 0), " tok/s");
}

// Runs every data set under every subject and fills in the report.
absl::Status Evaluate(const EvalOptions& options, const Evaluation& evaluation, Session& session,
                      eval::Report* report) {
  render::Progress progress(session.err(), session.err_is_terminal());
  eval::EvalRunner runner(
      {.model_key = absl::StrCat(evaluation.model.weights_digest(), "|", evaluation.model.dtype()),
       .in_flight = options.in_flight},
      &session.rpc(), evaluation.journal.get());
  for (const eval::Dataset& dataset : evaluation.datasets) {
    std::vector<eval::UnitResult> first;
    for (const eval::Subject& subject : evaluation.subjects) {
      auto results =
          runner.Run(dataset, subject, [&](size_t done, size_t all, double tokens_per_second) {
            progress.Show(ProgressLine(dataset.name, subject.name, done, all, tokens_per_second));
          });
      if (!results.ok()) return results.status();
      const bool is_first = first.empty();
      if (is_first) first = *results;
      report->rows.push_back(
          eval::MakeRow(dataset, subject, first, *results, is_first, options.seed));
    }
  }
  return absl::OkStatus();
}

ExitCode Print(const EvalOptions& options, const eval::Report& report, Session& session) {
  if (options.format == "json" || (options.format.empty() && session.options().json)) {
    session.out() << eval::RenderJson(report, session.out_is_terminal());
  } else if (options.format == "csv") {
    session.out() << eval::RenderCsv(report);
  } else if (options.format == "markdown") {
    session.out() << eval::RenderMarkdown(report);
  } else {
    session.out() << eval::RenderTable(report, session.out_style());
  }
  return ExitCode::kOk;
}

// The parts that need no server: all that is wrong with the command line is told first.
absl::StatusOr<std::vector<eval::Corpus>> ReadInputs(const EvalOptions& options,
                                                     Evaluation* evaluation) {
  evaluation->cutting = options.cutting;
  auto subjects = ReadSubjects(options);
  if (!subjects.ok()) return subjects.status();
  evaluation->subjects = *std::move(subjects);
  auto corpora = ReadCorpora(options);
  if (!corpora.ok()) return corpora.status();
  if (options.resume.empty()) {
    evaluation->journal = std::make_unique<eval::Journal>();
    return corpora;
  }
  auto journal = eval::Journal::Open(options.resume);
  if (!journal.ok()) return journal.status();
  evaluation->journal = *std::move(journal);
  return corpora;
}

ExitCode Run(const EvalOptions& options, Session& session) {
  Evaluation evaluation;
  auto corpora = ReadInputs(options, &evaluation);
  if (!corpora.ok()) return session.UsageError(corpora.status());
  auto model = session.rpc().GetModelInfo({});
  if (!model.ok()) return session.Fail(model.status());
  evaluation.model = *std::move(model);
  eval::Cutting& cutting = evaluation.cutting;
  if (auto status = CheckCutting(cutting, evaluation.model.max_context()); !status.ok()) {
    return session.UsageError(status);
  }
  if (cutting.stride == 0) cutting.stride = cutting.window;
  if (auto code = ResolveSubjects(&evaluation, session); code != ExitCode::kOk) return code;
  if (auto code = MakeDatasets(*std::move(corpora), &evaluation, session); code != ExitCode::kOk) {
    return code;
  }
  eval::Report report{
      .model = evaluation.model, .cutting = cutting, .seed = options.seed, .rows = {}};
  const absl::Status status = Evaluate(options, evaluation, session, &report);
  if (status.ok()) return Print(options, report, session);
  const ExitCode code = session.Fail(status);
  if (!options.resume.empty()) {
    session.err() << "  what is done is in " << options.resume
                  << ": the same command goes on from there\n";
  }
  return code;
}

}  // namespace

void AddEval(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<EvalOptions>(app, chosen, "eval",
                          "Compare routing policies by perplexity and accuracy", Flags, Run);
}

}  // namespace olmoe::client::commands
