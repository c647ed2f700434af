#include "client/commands/bench_flags.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/notation/policy_spec.h"

namespace olmoe::client::commands {
namespace {

constexpr char kHelp[] =
    "Closed loop (--concurrency): the next request is due when one ends. Open loop (--rate):\n"
    "requests are due at random times of this rate, whatever the server does. Latencies count\n"
    "from the time at which a request was due. A message of n tokens counts as n inter-token\n"
    "latencies of an n-th of its gap each. Requests due during --warmup are not counted.\n"
    "A .jsonl file of prompts has an object a line: {\"prompt\": \"...\" or \"token_ids\": [...],\n"
    "\"max_new_tokens\", \"weight\", \"method\": \"generate\" or \"score\", \"continuation\" or\n"
    "\"continuation_token_ids\"}; a score without a continuation scores its prompt. Any other\n"
    "file has a prompt a line.\n"
    "--swap-every patches all traffic to one --swap-policy after the other, and brings back at\n"
    "the end, and at Ctrl-C, the plan that was there. Without --swap-policy these are two names\n"
    "of the model's own routing. --paired measures pairs of runs, without swaps and with, and\n"
    "compares the p99 of inter-token latency.\n"
    "Where the plan has several arms, each is compared with the control: latencies, length and\n"
    "log-probability of scored tokens, with intervals by units, after a test that the split is\n"
    "as planned.\n";

void LoadFlags(CLI::App& command, BenchOptions& options) {
  auto* concurrency = AddNumber(command, "-c,--concurrency", options.concurrency,
                                "Requests at a time (1..65536)", {1, 65536})
                          ->capture_default_str();
  auto* rate =
      AddNumber(command, "--rate", options.rate,
                "Requests a second (0.001..1000000), instead of --concurrency", {1e-3, 1e6})
          ->excludes(concurrency);
  command.add_option("--arrival", options.arrival, "poisson (default) or constant")
      ->check(CLI::IsMember({"poisson", "constant"}))
      ->needs(rate);
  AddNumber(command, "--max-in-flight", options.max_in_flight,
            "Drop requests that are due while so many are under way (1..65536)", {1, 65536})
      ->needs(rate)
      ->capture_default_str();
  command
      .add_option("--duration", options.duration,
                  "How long to measure; default 10s without --requests")
      ->check(notation::CheckDuration)
      ->type_name("TIME");
  AddNumber(command, "--requests", options.requests, "How many requests to measure", {.least = 1});
  command
      .add_option("--warmup", options.warmup,
                  "How long to send requests before anything is counted")
      ->check(notation::CheckDuration)
      ->type_name("TIME");
}

void TrafficFlags(CLI::App& command, BenchOptions& options) {
  auto* prompts =
      command
          .add_option("--prompts", options.prompts,
                      "File of prompts; default: beginnings of stories; - = stdin, as text")
          ->type_name("FILE");
  AddNumber(command, "--random-tokens", options.random_tokens,
            "Prompts of so many random tokens; default 16 without a tokenizer", {.least = 1})
      ->excludes(prompts);
  AddNumber(command, "-n,--max-new-tokens", options.max_new_tokens,
            "Tokens to generate at most, where a prompt does not say", {.least = 1})
      ->capture_default_str();
  AddNumber(command, "--temperature", options.temperature,
            "Temperature of the sampling, 0 = greedy; the server's default is 1");
  command.add_flag("--ignore-eos", options.ignore_eos, "Do not end at the end-of-text token");
  AddNumber(command, "--seed", options.seed, "Seed of arrivals, prompts, units and sampling")
      ->capture_default_str();
  AddNumber(command, "--units", options.units,
            "Use unit ids u0..uN-1 (N: 1..10000000), which the plan's split assigns",
            {1, 10'000'000});
  command
      .add_option("--unit-distribution", options.unit_distribution,
                  "uniform (default), or zipf: few units with many requests")
      ->check(CLI::IsMember({"uniform", "zipf"}));
  command.add_option("--arm", options.arm, "Route by this arm of the plan, which must allow it")
      ->check(IsUtf8())
      ->type_name("ARM");
}

void ComparisonFlags(CLI::App& command, BenchOptions& options, CLI::Option* swap_every) {
  CLI::Option* arm = command.get_option("--arm");
  command
      .add_option("--control", options.control,
                  "Compare the other arms with this one; default: the plan's first")
      ->check(IsUtf8())
      ->excludes(arm)
      ->excludes(swap_every)
      ->type_name("ARM");
  command
      .add_flag("--always-valid", options.always_valid,
                "Wider intervals, which hold whenever and for whatever reason a run is ended")
      ->excludes(arm)
      ->excludes(swap_every);
}

absl::Duration ReadDuration(const std::string& text) {
  const auto duration = notation::ParseDuration(text);  // checked by the flag
  return absl::Seconds(duration->seconds()) + absl::Nanoseconds(duration->nanos());
}

}  // namespace

void BenchFlags(CLI::App& command, BenchOptions& options) {
  command.footer(kHelp);
  LoadFlags(command, options);
  TrafficFlags(command, options);
  auto* swap_every = command
                         .add_option("--swap-every", options.swap_every,
                                     "Patch the routing at this interval, such as 100ms")
                         ->check(notation::CheckDuration)
                         ->type_name("TIME");
  command
      .add_option("--swap-policy", options.swap_policies,
                  "Policies to patch with, at least two (see olmoectl patch --help)")
      ->check(IsUtf8())
      ->needs(swap_every)
      ->type_name("SPEC");
  auto* paired = AddNumber(command, "--paired", options.paired,
                           "Measure N pairs of runs (1..1000), without swaps and with", {1, 1000})
                     ->needs(swap_every);
  AddNumber(command, "--max-p99-ratio", options.max_p99_ratio,
            "Exit with 1 if the median of the pairs' ratios is higher", {.least = 0})
      ->needs(paired);
  ComparisonFlags(command, options, swap_every);
  AddNumber(command, "--max-error-ratio", options.max_error_ratio,
            "Exit with 1 if a larger part of the requests (0..1) fails or is dropped", {0, 1})
      ->capture_default_str();
  command.add_option("--json-out", options.json_out, "Write the JSON object to this file too")
      ->type_name("FILE");
}

bench::Runner::Options RunOptions(const BenchOptions& options) {
  bench::Runner::Options run{.concurrency = options.concurrency,
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

absl::StatusOr<bench::PromptMix> ReadMix(const BenchOptions& options, Session& session) {
  if (options.prompts.empty()) return bench::PromptMix::BuiltIn();
  const bool is_jsonl = absl::EndsWithIgnoreCase(options.prompts, ".jsonl");
  return session.ParseFile(options.prompts, [is_jsonl](const std::string& text) {
    return bench::PromptMix::Parse(text, is_jsonl);
  });
}

absl::StatusOr<std::optional<bench::Swapper::Options>> SwapOptions(const BenchOptions& options,
                                                                   uint32_t default_top_k) {
  if (options.swap_every.empty()) return std::nullopt;
  bench::Swapper::Options swaps{.policies = {}, .every = ReadDuration(options.swap_every)};
  if (swaps.every < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError("bench: --swap-every must be at least 1ms");
  }
  if (!options.arm.empty()) {
    return absl::InvalidArgumentError(
        "bench: --arm and --swap-every: the swapped plans have one arm");
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
    auto policy = notation::ParsePolicySpec(spec);
    if (!policy.ok()) return policy.status();
    swaps.policies.push_back(*std::move(policy));
  }
  return swaps;
}

absl::Status CheckControl(const std::string& control, const v1::RoutingPlan& plan) {
  std::vector<std::string> arms;
  for (const v1::Arm& arm : plan.arms()) {
    if (arm.arm_id() == control) return absl::OkStatus();
    arms.push_back(arm.arm_id());
  }
  if (control.empty() || arms.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("bench: --control: the plan has no arm \"",
                                                 control, "\", it has ",
                                                 absl::StrJoin(arms, ", ")));
}

absl::StatusOr<bench::Traffic> MakeTraffic(const BenchOptions& options, bench::PromptMix mix,
                                           const v1::GetModelInfoResponse& model) {
  uint32_t random_tokens = options.random_tokens;
  if (random_tokens == 0 && !model.has_tokenizer() && options.prompts.empty()) random_tokens = 16;
  if (random_tokens == 0 && !model.has_tokenizer() && mix.HasText()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.prompts, ": has text, and the model has no tokenizer: use token ids"));
  }
  return bench::Traffic({.seed = options.seed,
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

}  // namespace olmoe::client::commands
