#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/bench/async_calls.h"
#include "client/bench/benchmark.h"
#include "client/bench/report.h"
#include "client/commands/command.h"
#include "client/duration.h"
#include "client/interrupt.h"
#include "client/policy_spec.h"
#include "client/render/format.h"
#include "client/render/progress.h"

namespace olmoe::client {
namespace {

constexpr char kHelp[] =
    "Closed loop (--concurrency): the next request is due when one ends. Open loop (--rate): requests\n"
    "are due at random times of this rate, whatever the server does. Latencies count from the\n"
    "time at which a request was due. A message of n tokens counts as n inter-token latencies of an\n"
    "n-th of its gap each. Requests due during --warmup are not counted.\n"
    "A .jsonl file of prompts has an object a line: {\"prompt\": \"...\" or \"token_ids\": [...],\n"
    "\"max_new_tokens\", \"weight\", \"method\": \"generate\" or \"score\", \"continuation\" or\n"
    "\"continuation_token_ids\"}; a score without a continuation scores its prompt. Any other file has\n"
    "a prompt a line.\n"
    "--swap-every patches all traffic to one --swap-policy after the other, and brings back at the\n"
    "end, and at Ctrl-C, the plan that was there. Without --swap-policy these are two that equal\n"
    "the model's own routing. --paired measures pairs of runs, without swaps and with, and compares\n"
    "the p99 of inter-token latency.\n";

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
  std::string swap_every;
  std::vector<std::string> swap_policies;
  int paired = 0;
  double max_error_ratio = 0;
  std::string json_out;
};

void LoadFlags(CLI::App& command, BenchOptions& options) {
  auto* concurrency =
      command.add_option("-c,--concurrency", options.concurrency, "Requests at a time")
          ->check(CLI::Range(1, 65536))
          ->capture_default_str();
  auto* rate = command.add_option("--rate", options.rate, "Requests a second, in place of that")
                   ->check(CLI::Range(1e-3, 1e6))
                   ->excludes(concurrency);
  command.add_option("--arrival", options.arrival, "poisson (default) or constant")
      ->check(CLI::IsMember({"poisson", "constant"}))
      ->needs(rate);
  command
      .add_option("--max-in-flight", options.max_in_flight,
                  "What is due while so many are under way is dropped")
      ->check(CLI::Range(1, 65536))
      ->needs(rate)
      ->capture_default_str();
  command.add_option("--duration", options.duration, "How long; default 10s without --requests")
      ->check(CheckDuration)
      ->type_name("TIME");
  command.add_option("--requests", options.requests, "How many")->check(CLI::PositiveNumber);
  command.add_option("--warmup", options.warmup, "Before anything is counted")
      ->check(CheckDuration)
      ->type_name("TIME");
}

void TrafficFlags(CLI::App& command, BenchOptions& options) {
  auto* prompts = command.add_option("--prompts", options.prompts,
                                     "Prompts; default: beginnings of stories; - = stdin, text")
                      ->type_name("FILE");
  command
      .add_option("--random-tokens", options.random_tokens,
                  "Prompts of so many random tokens; default 16 without a tokenizer")
      ->check(CLI::PositiveNumber)
      ->excludes(prompts);
  command.add_option("-n,--max-new-tokens", options.max_new_tokens, "At most, where a prompt says "
                                                                    "nothing")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--temperature", options.temperature, "0 = greedy; server's default 1");
  command.add_flag("--ignore-eos", options.ignore_eos, "Do not end at the end-of-text token");
  command.add_option("--seed", options.seed, "Of arrivals, prompts, units and sampling")
      ->capture_default_str();
  command.add_option("--units", options.units, "Unit ids u0..uN-1, which the plan's split assigns")
      ->check(CLI::Range(1u, 10'000'000u))
      ->type_name("N");
  command
      .add_option("--unit-distribution", options.unit_distribution,
                  "uniform (default), or zipf: few units with many requests")
      ->check(CLI::IsMember({"uniform", "zipf"}));
  command.add_option("--arm", options.arm, "Ask for this arm of the routing plan")
      ->check(IsUtf8());
}

void Flags(CLI::App& command, BenchOptions& options) {
  command.footer(kHelp);
  LoadFlags(command, options);
  TrafficFlags(command, options);
  auto* swap_every = command.add_option("--swap-every", options.swap_every,
                                        "Patch the routing at this interval: 100ms")
                         ->check(CheckDuration)
                         ->type_name("TIME");
  command
      .add_option("--swap-policy", options.swap_policies,
                  "What to patch with; two at least (see olmoectl patch --help)")
      ->check(IsUtf8())
      ->needs(swap_every)
      ->type_name("SPEC");
  command.add_option("--paired", options.paired, "Pairs of runs, without swaps and with")
      ->check(CLI::Range(1, 1000))
      ->needs(swap_every)
      ->type_name("N");
  command
      .add_option("--max-error-ratio", options.max_error_ratio,
                  "Exit with 1 where more of the requests fail or are dropped")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--json-out", options.json_out, "Write the JSON object to this file too")
      ->type_name("FILE");
}

absl::Duration ReadDuration(const std::string& text) {
  const auto duration = ParseDuration(text);  // checked by the flag
  return absl::Seconds(duration->seconds()) + absl::Nanoseconds(duration->nanos());
}

Runner::Options RunOptions(const BenchOptions& options) {
  Runner::Options run{.concurrency = options.concurrency,
                      .max_in_flight = options.max_in_flight,
                      .warmup = ReadDuration(options.warmup),
                      .requests = options.requests};
  if (options.rate) {
    run.arrivals = {.per_second = *options.rate,
                    .constant = options.arrival == "constant",
                    .seed = options.seed};
  }
  if (!options.duration.empty()) {
    run.duration = ReadDuration(options.duration);
  } else if (options.requests == 0) {
    run.duration = absl::Seconds(10);
  }
  return run;
}

absl::StatusOr<PromptMix> ReadMix(const BenchOptions& options, Session& session) {
  if (options.prompts.empty()) return PromptMix::BuiltIn();
  const auto text = session.FileOrInput(options.prompts);
  if (!text.ok()) return text.status();
  auto mix = PromptMix::Parse(*text, absl::EndsWith(options.prompts, ".jsonl"));
  if (mix.ok()) return mix;
  return absl::InvalidArgumentError(
      absl::StrCat(options.prompts, ": ", mix.status().message()));
}

// nullopt: without swaps. `default_top_k`: of the model.
absl::StatusOr<std::optional<Swapper::Options>> SwapOptions(const BenchOptions& options,
                                                            uint32_t default_top_k) {
  if (options.swap_every.empty()) return std::nullopt;
  Swapper::Options swaps{.policies = {}, .every = ReadDuration(options.swap_every)};
  if (swaps.every < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError("bench: --swap-every must be at least 1ms");
  }
  if (!options.arm.empty()) {
    return absl::InvalidArgumentError("bench: --arm and --swap-every: the swapped plans have one arm");
  }
  std::vector<std::string> specs = options.swap_policies;
  if (specs.empty()) {
    for (const char* name : {"bench-a", "bench-b"}) {
      specs.push_back(absl::StrCat(name, "@top-k=", default_top_k));
    }
  }
  if (specs.size() < 2) {
    return absl::InvalidArgumentError("bench: --swap-policy: two policies at least");
  }
  for (const std::string& spec : specs) {
    auto policy = ParsePolicySpec(spec);
    if (!policy.ok()) return policy.status();
    swaps.policies.push_back(*std::move(policy));
  }
  return swaps;
}

absl::StatusOr<Traffic> MakeTraffic(const BenchOptions& options, PromptMix mix,
                                    const v1::GetModelInfoResponse& model) {
  uint32_t random_tokens = options.random_tokens;
  if (random_tokens == 0 && !model.has_tokenizer() && options.prompts.empty()) random_tokens = 16;
  if (random_tokens == 0 && !model.has_tokenizer() && mix.HasText()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.prompts, ": has text, and the model has no tokenizer: use token ids"));
  }
  return Traffic({.seed = options.seed,
                  .random_tokens = random_tokens,
                  .vocab_size = model.vocab_size(),
                  .max_new_tokens = options.max_new_tokens,
                  .temperature = options.temperature,
                  .ignore_eos = options.ignore_eos,
                  .arm = options.arm,
                  .units = options.units,
                  .zipf = options.unit_distribution == "zipf"},
                 std::move(mix));
}

std::string ProgressLine(const std::string& what, const Runner::Progress& progress) {
  const double seconds = absl::ToDoubleSeconds(progress.elapsed);
  const double rate = seconds > 0 ? static_cast<double>(progress.tokens) / seconds : 0;
  return absl::StrCat(what, FormatFixed(seconds, 1), " s  ", progress.requests, " requests, ",
                      progress.in_flight, " under way, ", FormatFixed(rate, 0), " tok/s, ",
                      progress.errors, " errors");
}

// One run, or pairs of runs in turns of order. An error: no run could be made.
absl::Status Measure(const BenchOptions& options, Benchmark& benchmark, Session& session,
                     BenchReport* report) {
  Progress progress(session.err(), session.err_is_terminal());
  const auto run = [&](bool with_swaps, const std::string& what) {
    return benchmark.Run(with_swaps, [&progress, &what](const Runner::Progress& now) {
      progress.Show(ProgressLine(what, now));
    });
  };
  if (options.paired == 0) {
    auto result = run(!options.swap_every.empty(), "");
    if (result.ok()) report->run = *std::move(result);
    return result.status();
  }
  for (int i = 0; i < options.paired; ++i) {
    RunPair pair{.with_first = i % 2 == 1, .without = {}, .with = {}};
    for (const bool with_swaps : {pair.with_first, !pair.with_first}) {
      auto result = run(with_swaps, absl::StrCat("pair ", i + 1, " of ", options.paired,
                                                 with_swaps ? ", with swaps  " : "  "));
      if (!result.ok()) return result.status();
      (with_swaps ? pair.with : pair.without) = *std::move(result);
      if (benchmark.stopped()) return absl::OkStatus();  // half a pair compares nothing
    }
    report->pairs.push_back(std::move(pair));
  }
  return absl::OkStatus();
}

bool IsFailure(const RunResult& run, double max_error_ratio) {
  if (run.recording.ErrorRatio() > max_error_ratio) return true;
  return run.swaps && (run.swaps->failures > 0 || !run.swaps->not_restored.empty());
}

ExitCode Judge(const BenchOptions& options, const BenchReport& report) {
  if (report.interrupted) return ExitCode::kInterrupted;
  const double most = options.max_error_ratio;
  bool failed = report.run && IsFailure(*report.run, most);
  for (const RunPair& pair : report.pairs) {
    failed = failed || IsFailure(pair.without, most) || IsFailure(pair.with, most);
  }
  return failed ? ExitCode::kFailed : ExitCode::kOk;
}

ExitCode Print(const BenchOptions& options, const BenchReport& report, std::ofstream* json_file,
               Session& session) {
  if (session.options().json) {
    session.out() << RenderBenchJson(report, session.out_is_terminal());
  } else {
    session.out() << RenderBench(report, session.out_style());
  }
  if (report.interrupted) session.err() << "olmoectl: interrupted\n";
  const ExitCode code = Judge(options, report);
  if (options.json_out.empty()) return code;
  *json_file << RenderBenchJson(report, /*indent=*/true) << std::flush;
  if (*json_file) return code;
  session.err() << "olmoectl: " << options.json_out << ": cannot be written\n";
  return ExitCode::kFailed;
}

ExitCode RunBenchmark(const BenchOptions& options, const Benchmark::Options& runs,
                      const Traffic& traffic, BenchReport* report, Session& session) {
  SteadyClock clock;
  AsyncCalls calls(session.rpc().options());
  RpcClient::Options admin_options = session.rpc().options();
  admin_options.interruptible = false;
  RpcClient admin(std::move(admin_options));
  Benchmark benchmark(runs, &traffic, &calls, &admin, &clock);
  InterruptScope interrupt([&benchmark] { benchmark.Stop(); });
  const absl::Status status = Measure(options, benchmark, session, report);
  report->interrupted = benchmark.stopped();
  return status.ok() ? ExitCode::kOk : session.Fail(status);
}

ExitCode Run(const BenchOptions& options, Session& session) {
  auto mix = ReadMix(options, session);
  if (!mix.ok()) return session.UsageError(mix.status());
  // All that is wrong with the policies' form is told before there is a server.
  if (auto swaps = SwapOptions(options, 1); !swaps.ok()) return session.UsageError(swaps.status());
  std::ofstream json_file;
  if (!options.json_out.empty()) json_file.open(options.json_out);
  if (!json_file) {
    return session.UsageError(
        absl::InvalidArgumentError(absl::StrCat(options.json_out, ": cannot be written")));
  }
  auto model = session.rpc().GetModelInfo({});
  if (!model.ok()) return session.Fail(model.status());
  const auto traffic = MakeTraffic(options, *std::move(mix), *model);
  if (!traffic.ok()) return session.UsageError(traffic.status());
  const Benchmark::Options runs{.run = RunOptions(options),
                                .swaps = *SwapOptions(options, model->default_top_k())};
  BenchReport report{.model = *std::move(model), .load = runs.run, .seed = options.seed,
                     .interrupted = false, .run = std::nullopt, .pairs = {}};
  if (auto code = RunBenchmark(options, runs, *traffic, &report, session);
      code != ExitCode::kOk) {
    return code;
  }
  return Print(options, report, &json_file, session);
}

}  // namespace

void AddBench(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<BenchOptions>(app, chosen, "bench", "Traffic, measured, while the routing is swapped",
                           Flags, Run);
}

}  // namespace olmoe::client
