// The command line of `bench`, and what it makes of it.
#ifndef OLMOE_CLIENT_COMMANDS_BENCH_FLAGS_H_
#define OLMOE_CLIENT_COMMANDS_BENCH_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/bench/prompt_mix.h"
#include "client/bench/runner.h"
#include "client/bench/swapper.h"
#include "client/bench/traffic.h"
#include "client/commands/session.h"
#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/inference.pb.h"

namespace CLI {
class App;
}

namespace olmoe::client::commands {

struct BenchOptions {
  int concurrency = 8;
  std::optional<double> rate;
  std::string arrival = "poisson";
  int max_in_flight = 1024;
  std::string duration, warmup = "0";
  uint64_t requests = 0;
  std::string prompts;
  uint32_t random_tokens = 0, max_new_tokens = 32;
  std::optional<double> temperature;
  bool ignore_eos = false;
  uint64_t seed = 1;
  uint32_t units = 0;
  std::string unit_distribution = "uniform", arm;
  std::string control;
  bool always_valid = false;
  std::string swap_every;
  std::vector<std::string> swap_policies;
  int paired = 0;
  std::optional<double> max_p99_ratio;
  double max_error_ratio = 0;
  std::string json_out;
};

void BenchFlags(CLI::App& command, BenchOptions& options);

// Errors are the command line's, or of a file that it names.
bench::Runner::Options RunOptions(const BenchOptions& options);
absl::StatusOr<bench::PromptMix> ReadMix(const BenchOptions& options, Session& session);
// nullopt: without swaps. `default_top_k`: of the model.
absl::StatusOr<std::optional<bench::Swapper::Options>> SwapOptions(const BenchOptions& options,
                                                                   uint32_t default_top_k);
// Fails where the plan has arms and `control` is none of them.
absl::Status CheckControl(const std::string& control, const v1::RoutingPlan& plan);
absl::StatusOr<bench::Traffic> MakeTraffic(const BenchOptions& options, bench::PromptMix mix,
                                           const v1::GetModelInfoResponse& model);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_BENCH_FLAGS_H_
