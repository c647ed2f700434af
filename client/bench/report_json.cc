#include <cmath>
#include <optional>
#include <string>

#include "client/bench/comparison_report.h"
#include "client/bench/report.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::bench {
namespace {

using nlohmann::ordered_json;

ordered_json HistogramJson(const Histogram& histogram) {
  ordered_json out = {{"count", histogram.count()}};
  const bool empty = histogram.count() == 0;
  const auto add = [&](const char* name, absl::Duration value) {
    out[name] = empty ? ordered_json() : ordered_json(absl::ToDoubleSeconds(value));
  };
  add("mean", histogram.Mean());
  add("p50", histogram.Quantile(0.50));
  add("p95", histogram.Quantile(0.95));
  add("p99", histogram.Quantile(0.99));
  add("max", histogram.Max());
  return out;
}

ordered_json ErrorsJson(const Numbers& numbers) {
  ordered_json out = ordered_json::object();
  for (const auto& [code, error] : numbers.errors) {
    out[code] = {{"count", error.count}, {"first_message", error.first_message}};
  }
  return out;
}

ordered_json PerSecond(uint64_t count, double seconds) {
  return seconds > 0 ? ordered_json(static_cast<double>(count) / seconds) : ordered_json();
}

ordered_json NumbersJson(const Numbers& numbers, double seconds) {
  ordered_json out;
  out["policies"] = numbers.policies;
  out["requests"] = numbers.requests;
  out["errors"] = ErrorsJson(numbers);
  out["requests_per_second"] = PerSecond(numbers.completed_in_window, seconds);
  out["prompt_tokens"] = numbers.prompt_tokens;
  out["completion_tokens"] = numbers.completion_tokens;
  out["tokens_per_second"] = PerSecond(numbers.tokens_in_window, seconds);
  out["scored_tokens"] = numbers.scored_tokens;
  out["perplexity"] = numbers.scored_tokens == 0
                          ? ordered_json()
                          : ordered_json(std::exp(-numbers.logprob_sum /
                                                  static_cast<double>(numbers.scored_tokens)));
  out["first_token_seconds"] = HistogramJson(numbers.first_token);
  out["inter_token_seconds"] = HistogramJson(numbers.inter_token);
  out["generate_seconds"] = HistogramJson(numbers.duration);
  out["score_seconds"] = HistogramJson(numbers.score_duration);
  out["queue_seconds"] = HistogramJson(numbers.queue);
  return out;
}

ordered_json SwapsJson(const SwapReport& swaps) {
  ordered_json out;
  out["swaps"] = swaps.swaps;
  out["conflicts"] = swaps.conflicts;
  out["failures"] = swaps.failures;
  out["first_failure"] = swaps.failures == 0 ? ordered_json() : ordered_json(swaps.first_failure);
  out["first_generation"] = swaps.first_generation;
  out["last_generation"] = swaps.last_generation;
  out["blocked_seconds"] = HistogramJson(swaps.blocked);
  out["round_trip_seconds"] = HistogramJson(swaps.round_trip);
  out["original_generation"] = swaps.original_generation;
  out["restored_generation"] =
      swaps.restored_generation == 0 ? ordered_json() : ordered_json(swaps.restored_generation);
  out["not_restored"] =
      swaps.not_restored.empty() ? ordered_json() : ordered_json(swaps.not_restored);
  return out;
}

ordered_json GenerationsJson(const std::set<uint64_t>& generations) {
  ordered_json out = {{"count", generations.size()}};
  out["first"] = generations.empty() ? ordered_json() : ordered_json(*generations.begin());
  out["last"] = generations.empty() ? ordered_json() : ordered_json(*generations.rbegin());
  return out;
}

ordered_json RunJson(const RunResult& run) {
  const Measurement& measurement = run.measurement;
  const double seconds = measurement.Seconds();
  ordered_json out;
  out["seconds"] = seconds;
  out["warmup_requests"] = measurement.warmup_requests;
  out["dropped"] = measurement.dropped;
  out["abandoned"] = measurement.abandoned;
  out["error_ratio"] = measurement.ErrorRatio();
  out["send_delay_seconds"] = HistogramJson(measurement.send_delay);
  out["generations"] = GenerationsJson(measurement.generations);
  out["all"] = NumbersJson(measurement.all, seconds);
  out["arms"] = ordered_json::object();
  for (const auto& [arm, numbers] : measurement.arms) {
    out["arms"][arm] = NumbersJson(numbers, seconds);
  }
  out["swaps"] = run.swaps ? SwapsJson(*run.swaps) : ordered_json();
  return out;
}

ordered_json LoadJson(const BenchReport& report) {
  const Runner::Options& load = report.load;
  ordered_json out = {{"loop", load.arrivals ? "open" : "closed"}};
  out["concurrency"] = load.arrivals ? ordered_json() : ordered_json(load.concurrency);
  out["rate"] = load.arrivals ? ordered_json(load.arrivals->per_second) : ordered_json();
  out["arrival"] = load.arrivals ? ordered_json(load.arrivals->constant ? "constant" : "poisson")
                                 : ordered_json();
  out["warmup_seconds"] = absl::ToDoubleSeconds(load.warmup);
  out["duration_seconds"] = load.duration == absl::InfiniteDuration()
                                ? ordered_json()
                                : ordered_json(absl::ToDoubleSeconds(load.duration));
  out["requests"] = load.requests == 0 ? ordered_json() : ordered_json(load.requests);
  out["seed"] = report.seed;
  return out;
}

ordered_json PairJson(const RunPair& pair) {
  const auto ratio = P99Ratio(pair);
  ordered_json out;
  out["with_first"] = pair.with_first;
  out["inter_token_p99_ratio"] = ratio ? ordered_json(*ratio) : ordered_json();
  out["without"] = RunJson(pair.without);
  out["with"] = RunJson(pair.with);
  return out;
}

ordered_json MedianJson(const BenchReport& report) {
  const auto median = MedianP99Ratio(report.pairs, report.seed);
  if (!median) return ordered_json();
  ordered_json out = {{"median", median->value}};
  out["low"] = median->low ? ordered_json(*median->low) : ordered_json();
  out["high"] = median->high ? ordered_json(*median->high) : ordered_json();
  out["confidence"] = eval::kConfidence;
  return out;
}

}  // namespace

std::string RenderBenchJson(const BenchReport& report, bool indent) {
  ordered_json out;
  out["model"] = {{"model_id", report.model.model_id()},
                  {"weights_digest", report.model.weights_digest()},
                  {"dtype", report.model.dtype()},
                  {"device", report.model.device()},
                  {"server_version", report.model.server_version()}};
  out["load"] = LoadJson(report);
  out["interrupted"] = report.interrupted;
  out["run"] = report.run ? RunJson(*report.run) : ordered_json();
  out["comparison"] = report.comparison ? ComparisonJson(*report.comparison) : ordered_json();
  out["pairs"] = ordered_json::array();
  for (const RunPair& pair : report.pairs) out["pairs"].push_back(PairJson(pair));
  out["inter_token_p99_ratio"] = MedianJson(report);
  return out.dump(indent ? 2 : -1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace olmoe::client::bench
