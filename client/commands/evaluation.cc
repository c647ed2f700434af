#include "client/commands/evaluation.h"

#include <ostream>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/notation/policy_spec.h"
#include "client/render/format.h"
#include "client/render/progress.h"
#include "client/render/routing.h"

namespace olmoe::client::commands {
namespace {

std::string ProgressLine(const std::string& data, const std::string& policy, size_t done,
                         size_t all, double tokens_per_second) {
  constexpr size_t kWidth = 24;
  const size_t filled = all == 0 ? kWidth : done * kWidth / all;
  return absl::StrCat(data, "  ", policy, "  [", std::string(filled, '='),
                      std::string(kWidth - filled, ' '), "] ", done, " of ", all, "  ",
                      render::FormatFixed(tokens_per_second, 0), " tok/s");
}

}  // namespace

void AddEvaluationFlags(CLI::App& command, EvaluationFlags& flags) {
  command.add_option("--data", flags.data, "Texts and questions to evaluate on")
      ->required()
      ->type_name("FILE");
  AddNumber(command, "--window", flags.cutting.window,
            "Tokens of a window; 0 = score each document by itself");
  AddNumber(command, "--stride", flags.cutting.stride,
            "Tokens from one window to the next; default: the window's size");
  AddNumber(command, "--limit", flags.cutting.limit,
            "Take only the first N windows, documents or questions of each file; 0 = all");
  command.add_flag("--lines", flags.lines, "Take every line of a text as a document");
  AddNumber(command, "--in-flight", flags.in_flight, "Requests at a time (1..32)", {1, 32})
      ->capture_default_str();
  command
      .add_option("--resume", flags.resume, "Keep finished work in this file, and go on from it")
      ->type_name("FILE");
  AddNumber(command, "--routing-seed", flags.routing_seed,
            "Routing seed of all requests, for noise")
      ->capture_default_str();
  AddNumber(command, "--seed", flags.seed, "Seed of the bootstrap")->capture_default_str();
  command.add_option("--format", flags.format, "table (default), markdown, csv or json")
      ->check(CLI::IsMember({"table", "markdown", "csv", "json"}));
}

eval::Subject SubjectOf(const v1::RoutingPolicy& policy) {
  eval::Subject subject{.name = policy.policy_id(), .routing = render::DescribePolicy(policy)};
  *subject.selector.mutable_policy() = policy;
  return subject;
}

absl::StatusOr<eval::Subject> ParseSubject(const std::string& spec) {
  const auto policy = notation::ParsePolicySpec(spec);
  if (!policy.ok()) return policy.status();
  return SubjectOf(*policy);
}

absl::Status CheckNames(const std::vector<eval::Subject>& subjects) {
  std::set<std::string> names;
  for (const eval::Subject& subject : subjects) {
    if (names.insert(subject.name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("two policies are called \"", subject.name, "\": write NAME@SPEC"));
  }
  return absl::OkStatus();
}

absl::Status Evaluation::ReadFiles() {
  for (const std::string& path : flags_.data) {
    auto corpus = eval::ReadCorpus(path, flags_.lines);
    if (!corpus.ok()) return corpus.status();
    corpora_.push_back(*std::move(corpus));
  }
  if (flags_.resume.empty()) {
    journal_ = std::make_unique<eval::Journal>();
    return absl::OkStatus();
  }
  auto journal = eval::Journal::Open(flags_.resume);
  if (journal.ok()) journal_ = *std::move(journal);
  return journal.status();
}

absl::Status Evaluation::CheckCutting() const {
  if (cutting_.window == 0) {
    if (cutting_.stride == 0) return absl::OkStatus();
    return absl::InvalidArgumentError("--stride needs --window");
  }
  if (cutting_.window > model_.max_context()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--window must be at most the model's context of ", model_.max_context(), " tokens"));
  }
  if (cutting_.stride > cutting_.window) {
    return absl::InvalidArgumentError("--stride must be at most --window");
  }
  return absl::OkStatus();
}

ExitCode Evaluation::Connect() {
  auto model = session_.rpc().GetModelInfo({});
  if (!model.ok()) return session_.Fail(model.status());
  model_ = *std::move(model);
  cutting_ = flags_.cutting;
  if (auto status = CheckCutting(); !status.ok()) return session_.UsageError(status);
  if (cutting_.stride == 0) cutting_.stride = cutting_.window;
  runner_.emplace(eval::EvalRunner::Options{.model = model_,
                                            .in_flight = flags_.in_flight,
                                            .routing_seed = flags_.routing_seed,
                                            .count_experts = flags_.count_experts},
                  &session_.rpc(), journal_.get());
  return ExitCode::kOk;
}

ExitCode Evaluation::Resolve(std::vector<eval::Subject>* subjects) {
  ExitCode code = ExitCode::kOk;
  for (eval::Subject& subject : *subjects) {
    const absl::Status status = eval::ResolveSubject(model_, session_.rpc(), &subject);
    if (status.ok()) continue;
    // With a digest it was the admin port that refused.
    const std::string hint =
        subject.digest.empty() ? InlinePolicyHint(status, subject.selector) : "";
    code = session_.Fail(status,
                         absl::StrCat("policy: ", subject.name, hint.empty() ? "" : "; ", hint));
    if (!hint.empty()) break;  // of the others too
    if (code == ExitCode::kUnreachable || code == ExitCode::kInterrupted) break;
  }
  return code;
}

ExitCode Evaluation::Tokenize() {
  render::Progress progress(session_.err(), session_.err_is_terminal());
  for (eval::Corpus& corpus : corpora_) {
    progress.Show(absl::StrCat("tokenizing ", corpus.name));
    auto dataset = eval::MakeDataset(std::move(corpus), cutting_, model_, session_.rpc());
    if (!dataset.ok()) {
      progress.Clear();
      return session_.Fail(dataset.status());
    }
    datasets_.push_back(*std::move(dataset));
  }
  corpora_.clear();
  return ExitCode::kOk;
}

absl::StatusOr<eval::PassResult> Evaluation::Run(const eval::Dataset& dataset,
                                                 const eval::Subject& subject) {
  render::Progress progress(session_.err(), session_.err_is_terminal());
  return runner_->Run(dataset, subject, [&](size_t done, size_t all, double tokens_per_second) {
    progress.Show(ProgressLine(dataset.name, subject.name, done, all, tokens_per_second));
  });
}

ExitCode Evaluation::Fail(const absl::Status& status) {
  const ExitCode code = session_.Fail(status);
  if (!flags_.resume.empty()) {
    session_.err() << "  what is done is in " << flags_.resume
                   << ": the same command goes on from there\n";
  }
  return code;
}

eval::Report Evaluation::EmptyReport() const {
  return {.model = model_, .cutting = cutting_, .seed = flags_.seed, .rows = {}};
}

std::string Evaluation::Format() const {
  if (!flags_.format.empty()) return flags_.format;
  return session_.options().json ? "json" : "table";
}

}  // namespace olmoe::client::commands
