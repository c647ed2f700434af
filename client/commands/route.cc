#include <algorithm>
#include <cstdint>
#include <fstream>
#include <functional>
#include <istream>
#include <optional>
#include <ostream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/calibration_file.h"
#include "client/notation/json_numbers.h"
#include "client/notation/policy_spec.h"
#include "client/render/format.h"
#include "client/route/cdf_tables.h"
#include "client/route/policy_rules.h"
#include "client/route/routed_row.h"
#include "client/route/vector_file.h"
#include "client/trace/recording.h"

namespace olmoe::client::commands {
namespace {

using nlohmann::ordered_json;

constexpr int kMaxLayers = 1024;

struct RouteOptions {
  std::string policy, calibration, logits;
  uint32_t default_k = 8;
  bool norm_topk_prob = false;
  int layers = kMaxLayers;
  std::optional<uint64_t> position, prompt_tokens;
  uint64_t routing_seed = 0;
  std::string cases, tables;
};

void Flags(CLI::App& command, RouteOptions& options) {
  command.footer(notation::PolicySpecHelp() +
                 "  A line of logits is an array, or {\"layer\": L, \"position\": P, "
                 "\"logits\": [...]}.\n");
  auto* policy = command.add_option("--policy", options.policy, "The policy to try")
                     ->check(IsUtf8())
                     ->type_name("SPEC");
  command
      .add_option("--calibration", options.calibration,
                  "Tables that turn logits into p-values: a file that `calibration put` takes")
      ->check(CLI::ExistingFile)
      ->needs(policy);
  auto* logits = command
                     .add_option("--logits", options.logits,
                                 "Router logits: JSON with a row on each line; - = stdin; or a "
                                 "file of --trace-out (.safetensors)")
                     ->type_name("FILE|-")
                     ->needs(policy);
  policy->needs(logits);
  AddNumber(command, "--default-k", options.default_k,
            absl::StrCat("The model's own k (1..", routing::kMaxExperts, "), for JSON logits"),
            {1, routing::kMaxExperts})
      ->capture_default_str();
  command.add_flag("--norm-topk-prob", options.norm_topk_prob,
                   "The model's own weights sum to one, for JSON logits");
  AddNumber(command, "--layers", options.layers, "Layers of the model, for JSON logits",
            {1, kMaxLayers});
  AddNumber(command, "--position", options.position,
            "Position of the rows whose line names none; default 0")
      ->needs(policy);
  AddNumber(command, "--prompt-tokens", options.prompt_tokens,
            "Tokens of the prompt: rows from this position on are late, and run the policy's rule "
            "for decode; without it none is")
      ->needs(policy);
  AddNumber(command, "--routing-seed", options.routing_seed,
            "Routing seed of the request, for noise")
      ->needs(policy);
  auto* cases = command
                    .add_option("--cases", options.cases,
                                "Decide cases with policies of their own: JSON lines")
                    ->check(CLI::ExistingFile)
                    ->excludes(policy);
  command
      .add_option("--tables", options.tables,
                  "The tables that the cases name, a file as for --calibration")
      ->check(CLI::ExistingFile)
      ->needs(cases);
}

absl::StatusOr<route::CdfTables> ReadTables(const std::string& path, Session& session) {
  if (path.empty()) return route::CdfTables();
  return session.ParseFile(path, [](const std::string& text) -> absl::StatusOr<route::CdfTables> {
    const auto tables = notation::ParseCalibration(text);
    if (!tables.ok()) return tables.status();
    return route::MakeCdfTables(*tables);
  });
}

// Calls `decide` for each line that is not empty and prints what it returns.
absl::Status ForEachLine(std::istream& in, const std::string& name, std::ostream& out,
                         const std::function<absl::StatusOr<ordered_json>(std::string&)>& decide) {
  size_t number = 0;
  for (std::string line; out.good() && std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto result = decide(line);
    if (!result.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": line ", number, ": ", result.status().message()));
    }
    out << result->dump() << '\n';
  }
  if (in.bad()) return absl::InvalidArgumentError(absl::StrCat(name, ": cannot be read"));
  return absl::OkStatus();
}

// An empty file, or rows that cannot be routed at all: a script must not take that for a result.
ExitCode NothingRouted(const std::string& name, Session& session) {
  return session.Failed(absl::StrCat("nothing was routed: ", name == "-" ? "standard input" : name,
                                     " has no row that a rule could decide about"));
}

ExitCode RunCases(const RouteOptions& options, Session& session) {
  const auto tables = ReadTables(options.tables, session);
  if (!tables.ok()) return session.UsageError(tables.status());
  std::ifstream cases(options.cases);
  size_t decided = 0;
  const absl::Status status =
      ForEachLine(cases, options.cases, session.out(), [&](const std::string& line) {
        ++decided;
        return route::DecideCase(line, *tables);
      });
  if (!status.ok()) return session.UsageError(status);
  return decided > 0 ? ExitCode::kOk : NothingRouted(options.cases, session);
}

// Rows of logits through one policy, printed one by one; the means at the end.
// Thread-compatible.
class PolicyTrial {
 public:
  PolicyTrial(const v1::RoutingPolicy& policy, const route::CdfTables* tables,
              const RouteOptions& options)
      : policy_(policy), tables_(tables), options_(options) {}

  // Before the first row. INVALID_ARGUMENT: the policy does not suit the shape.
  absl::Status Begin(const routing::RouterShape& shape) {
    auto rules = route::PolicyRules::Create(policy_, shape, tables_);
    if (!rules.ok()) return rules.status();
    rules_.emplace(*std::move(rules));
    return absl::OkStatus();
  }
  bool begun() const { return rules_.has_value(); }
  const routing::RouterShape& shape() const { return rules_->shape(); }

  route::RoutedRow Route(int layer, uint64_t position, std::span<const float> logits) {
    const routing::RowPlace place = {
        .layer = layer,
        .position = position,
        .routing_seed = options_.routing_seed,
        .late = options_.prompt_tokens && position >= *options_.prompt_tokens};
    route::RoutedRow row = route::RouteLogits(logits, rules_->Of(layer), place);
    ++rows_;
    if (row.routed) {
      ++routed_;
      experts_ += row.decision.applied.k;
    }
    return row;
  }

  uint64_t routed() const { return routed_; }
  std::string Summary() const {
    std::string text = absl::StrCat(rows_, " rows");
    if (routed_ < rows_) absl::StrAppend(&text, ", ", rows_ - routed_, " without a decision");
    if (routed_ == 0) return text;
    return absl::StrCat(text, ", ", render::FormatFixed(double(experts_) / double(routed_), 2),
                        " experts a row");
  }

 private:
  const v1::RoutingPolicy policy_;
  const route::CdfTables* const tables_;
  const RouteOptions& options_;
  std::optional<route::PolicyRules> rules_;
  uint64_t rows_ = 0, routed_ = 0, experts_ = 0;
};

// An array of numbers, or an object that may name their layer and position.
absl::StatusOr<ordered_json> RouteLine(const std::string& text, const RouteOptions& options,
                                       PolicyTrial* trial) {
  std::optional<int> layer;
  std::optional<uint64_t> position;
  std::vector<float> logits;
  absl::Status status = ReadJson(text, notation::kJsonLimits, [&](const JsonCursor& line) {
    logits = route::ToLogits(notation::ReadNumbers(line.IsArray() ? line : line["logits"]));
    if (line.IsArray()) return;
    if (const JsonCursor field = line["layer"]; !field.IsAbsent()) {
      layer = static_cast<int>(field.Integer(0, options.layers - 1));
    }
    if (const JsonCursor field = line["position"]; !field.IsAbsent()) position = field.Unsigned();
  });
  if (!status.ok()) return status;
  if (logits.empty() || logits.size() > static_cast<size_t>(routing::kMaxExperts)) {
    return absl::InvalidArgumentError(
        absl::StrCat("must have 1..", routing::kMaxExperts, " logits, has ", logits.size()));
  }
  if (!trial->begun()) {
    const int experts = static_cast<int>(logits.size());
    status = trial->Begin({.num_layers = options.layers,
                           .num_experts = experts,
                           .default_k = std::min(static_cast<int>(options.default_k), experts),
                           .norm_topk_prob = options.norm_topk_prob});
    if (!status.ok()) return status;
  }
  const int num_experts = trial->shape().num_experts;
  if (logits.size() != static_cast<size_t>(num_experts)) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", logits.size(), " logits, the first row ", num_experts));
  }
  ordered_json out;
  if (layer) out["layer"] = *layer;
  if (position) out["position"] = *position;
  const uint64_t place = position.value_or(options.position.value_or(0));
  out.update(trial->Route(layer.value_or(0), place, logits).json);
  return out;
}

absl::Status RouteLines(const RouteOptions& options, PolicyTrial* trial, Session& session) {
  std::ifstream file;
  if (options.logits != "-") {
    file.open(options.logits);
    if (!file) return absl::InvalidArgumentError(absl::StrCat(options.logits, ": cannot be read"));
  }
  return ForEachLine(options.logits == "-" ? session.in() : file,
                     options.logits == "-" ? "standard input" : options.logits, session.out(),
                     [&](const std::string& line) { return RouteLine(line, options, trial); });
}

// Routes every row of a recording; tells how often the experts are those recorded.
absl::Status RouteRecording(const trace::Recording& recording, PolicyTrial* trial, Session& session,
                            std::string* comparison) {
  auto status = trial->Begin(recording.shape);
  if (!status.ok()) return status;
  const size_t layers = static_cast<size_t>(recording.shape.num_layers);
  const size_t slots = recording.num_rows() * layers;
  size_t same = 0;
  for (size_t slot = 0; slot < slots && session.out().good(); ++slot) {
    const int layer = static_cast<int>(slot % layers);
    const uint64_t position = recording.positions[slot / layers];
    const route::RoutedRow row = trial->Route(layer, position, recording.LogitsOf(slot));
    const auto recorded = recording.ExpertsOf(slot);
    const bool equal = row.routed && row.decision.applied.k == recorded.size() &&
                       std::equal(recorded.begin(), recorded.end(), row.decision.experts.begin());
    same += equal ? 1 : 0;
    ordered_json out = {{"item", recording.items[slot / layers]},
                        {"position", position},
                        {"layer", layer},
                        {"as_recorded", equal}};
    out.update(row.json);
    session.out() << out.dump() << '\n';
  }
  *comparison = absl::StrCat(
      "; recorded ",
      render::FormatFixed(slots == 0 ? 0 : double(recording.experts.size()) / double(slots), 2),
      ", the same experts in ", same);
  return absl::OkStatus();
}

ExitCode RunPolicy(const RouteOptions& options, Session& session) {
  const auto policy = notation::ParsePolicySpec(options.policy);
  if (!policy.ok()) return session.UsageError(policy.status());
  const auto tables = ReadTables(options.calibration, session);
  if (!tables.ok()) return session.UsageError(tables.status());
  PolicyTrial trial(*policy, &*tables, options);
  absl::Status status;
  std::string comparison;
  if (absl::EndsWithIgnoreCase(options.logits, ".safetensors")) {
    const auto recording = trace::Recording::Read(options.logits);
    status = recording.ok() ? RouteRecording(*recording, &trial, session, &comparison)
                            : recording.status();
  } else {
    status = RouteLines(options, &trial, session);
  }
  if (!status.ok()) return session.UsageError(status);
  if (!session.options().json) {
    session.err() << session.err_style().Dim(absl::StrCat("[", trial.Summary(), comparison, "]"))
                  << '\n';
  }
  return trial.routed() > 0 ? ExitCode::kOk : NothingRouted(options.logits, session);
}

ExitCode Run(const RouteOptions& options, Session& session) {
  if (!options.cases.empty()) return RunCases(options, session);
  if (!options.policy.empty()) return RunPolicy(options, session);
  return session.UsageError(
      absl::InvalidArgumentError("route: give --policy and --logits, or --cases"));
}

}  // namespace

void AddRoute(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<RouteOptions>(app, chosen, "route",
                           "Try a routing policy on recorded logits, without a server", Flags, Run);
}

}  // namespace olmoe::client::commands
