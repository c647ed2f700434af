// What `eval` and `sweep` share: the data, the server's model, and runs of one under policies.
#ifndef OLMOE_CLIENT_COMMANDS_EVALUATION_H_
#define OLMOE_CLIENT_COMMANDS_EVALUATION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/commands/session.h"
#include "client/eval/corpus.h"
#include "client/eval/dataset.h"
#include "client/eval/journal.h"
#include "client/eval/report.h"
#include "client/eval/runner.h"

namespace olmoe::client::commands {

struct EvaluationFlags {
  std::vector<std::string> data, policies;
  eval::Cutting cutting;
  bool lines = false, count_experts = false;
  int in_flight = 8;
  uint64_t routing_seed = 0, seed = 1;
  std::string resume, format;
};

// All of them but for --policy and what counts experts, whose help each command has its own of.
void AddEvaluationFlags(CLI::App& command, EvaluationFlags& flags);

// What is evaluated of a policy. INVALID_ARGUMENT for a SPEC that is none.
absl::StatusOr<eval::Subject> ParseSubject(const std::string& spec);
eval::Subject SubjectOf(const v1::RoutingPolicy& policy);
// INVALID_ARGUMENT where two have one name.
absl::Status CheckNames(const std::vector<eval::Subject>& subjects);

// The steps of a command, in this order. Those that return an ExitCode have told what is wrong.
// Thread-compatible.
class Evaluation {
 public:
  // Both outlive it.
  Evaluation(const EvaluationFlags& flags, Session& session) : flags_(flags), session_(session) {}

  // What needs no server, so that all that is wrong with the command line is told first.
  // INVALID_ARGUMENT names the file.
  absl::Status ReadFiles();
  // Asks for the model, and checks the windows.
  ExitCode Connect();
  const v1::GetModelInfoResponse& model() const { return model_; }
  // Asks the server about every policy; tells all that it refuses.
  ExitCode Resolve(std::vector<eval::Subject>* subjects);
  ExitCode Tokenize();
  const std::vector<eval::Dataset>& datasets() const { return datasets_; }
  absl::StatusOr<eval::PassResult> Run(const eval::Dataset& dataset, const eval::Subject& subject);
  // Tells why a run failed, and what is left of it.
  ExitCode Fail(const absl::Status& status);
  // Without rows.
  eval::Report EmptyReport() const;
  // "table", "markdown", "csv" or "json".
  std::string Format() const;

 private:
  absl::Status CheckCutting() const;

  const EvaluationFlags& flags_;
  Session& session_;
  std::vector<eval::Corpus> corpora_;  // until they are tokenized
  v1::GetModelInfoResponse model_;
  eval::Cutting cutting_;
  std::vector<eval::Dataset> datasets_;
  std::unique_ptr<eval::Journal> journal_;
  std::optional<eval::EvalRunner> runner_;
};

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_EVALUATION_H_
