#include "client/bench/report.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/bench/comparison_report.h"
#include "client/render/format.h"
#include "client/render/table.h"

namespace olmoe::client::bench {
namespace {

std::string Time(absl::Duration duration) {
  return render::FormatSeconds(absl::ToDoubleSeconds(duration));
}

std::string Rate(uint64_t count, double seconds) {
  return seconds > 0 ? render::FormatFixed(static_cast<double>(count) / seconds, 1) : "-";
}

std::string Perplexity(const Numbers& numbers) {
  if (numbers.scored_tokens == 0) return "-";
  return render::FormatFixed(
      std::exp(-numbers.logprob_sum / static_cast<double>(numbers.scored_tokens)), 3);
}

// "all", then the arms where there are several.
std::vector<std::pair<std::string, const Numbers*>> Groups(const Measurement& measurement) {
  std::vector<std::pair<std::string, const Numbers*>> groups = {{"all", &measurement.all}};
  if (measurement.arms.size() < 2) return groups;
  for (const auto& [arm, numbers] : measurement.arms) groups.emplace_back(arm, &numbers);
  return groups;
}

std::string RenderCounts(const Measurement& measurement, const render::Style& style) {
  using enum render::Table::Align;
  render::Table table({{"ARM"},
                       {"REQUESTS", kRight},
                       {"ERRORS", kRight},
                       {"REQ/S", kRight},
                       {"TOKENS", kRight},
                       {"TOK/S", kRight},
                       {"SCORED", kRight},
                       {"PPL", kRight},
                       {"POLICIES"}});
  const double seconds = measurement.Seconds();
  for (const auto& [name, numbers] : Groups(measurement)) {
    table.AddRow({name, absl::StrCat(numbers->requests), absl::StrCat(numbers->ErrorSum()),
                  Rate(numbers->completed_in_window, seconds),
                  absl::StrCat(numbers->completion_tokens),
                  Rate(numbers->tokens_in_window, seconds), absl::StrCat(numbers->scored_tokens),
                  Perplexity(*numbers), absl::StrJoin(numbers->policies, ", ")});
  }
  return table.Render(style);
}

std::string RenderLatencies(const Measurement& measurement, const render::Style& style) {
  using enum render::Table::Align;
  static constexpr std::pair<const char*, Histogram Numbers::*> kRows[] = {
      {"first token", &Numbers::first_token},
      {"inter-token", &Numbers::inter_token},
      {"generate", &Numbers::duration},
      {"score", &Numbers::score_duration},
      {"queue", &Numbers::queue},
  };
  render::Table table({{"LATENCY"},
                       {"ARM"},
                       {"COUNT", kRight},
                       {"MEAN", kRight},
                       {"P50", kRight},
                       {"P95", kRight},
                       {"P99", kRight},
                       {"MAX", kRight}});
  for (const auto& [title, member] : kRows) {
    for (const auto& [name, numbers] : Groups(measurement)) {
      const Histogram& histogram = numbers->*member;
      if (histogram.count() == 0) continue;
      table.AddRow({title, name, absl::StrCat(histogram.count()), Time(histogram.Mean()),
                    Time(histogram.Quantile(0.5)), Time(histogram.Quantile(0.95)),
                    Time(histogram.Quantile(0.99)), Time(histogram.Max())});
    }
  }
  return table.empty() ? "" : "\n" + table.Render(style);
}

std::string RenderErrors(const Measurement& measurement, const render::Style& style) {
  std::string text;
  for (const auto& [code, error] : measurement.all.errors) {
    absl::StrAppend(&text, style.Red(code), " ", error.count, ": ",
                    render::ForTerminal(render::OneLine(error.first_message)), "\n");
  }
  if (measurement.dropped > 0) {
    absl::StrAppend(&text, style.Red("dropped"), " ", measurement.dropped,
                    ": due while too many were under way (--max-in-flight)\n");
  }
  return text.empty() ? text : "\n" + text;
}

std::string RenderSwaps(const SwapReport& swaps, const Measurement& measurement,
                        const render::Style& style) {
  std::string text = absl::StrCat("\n", swaps.swaps, " swaps, generations ", swaps.first_generation,
                                  " to ", swaps.last_generation, ", of which requests saw ",
                                  measurement.generations.size(), "; ", swaps.conflicts,
                                  " conflicts, ", swaps.failures, " failures\n");
  absl::StrAppend(&text, "admission blocked p50 ", Time(swaps.blocked.Quantile(0.5)), ", p99 ",
                  Time(swaps.blocked.Quantile(0.99)), ", max ", Time(swaps.blocked.Max()),
                  "; patch call p50 ", Time(swaps.round_trip.Quantile(0.5)), ", p99 ",
                  Time(swaps.round_trip.Quantile(0.99)), "\n");
  if (!swaps.first_failure.empty()) {
    absl::StrAppend(
        &text, "first failure: ", render::ForTerminal(render::OneLine(swaps.first_failure)), "\n");
  }
  if (!swaps.not_restored.empty()) {
    return absl::StrCat(text, style.Red("the plan was not brought back: "),
                        render::ForTerminal(render::OneLine(swaps.not_restored)), "\n");
  }
  return absl::StrCat(text, "the plan of generation ", swaps.original_generation,
                      " is back as generation ", swaps.restored_generation, "\n");
}

std::string RenderRun(const RunResult& run, const render::Style& style) {
  const Measurement& measurement = run.measurement;
  std::string text =
      absl::StrCat(RenderCounts(measurement, style), RenderLatencies(measurement, style),
                   RenderErrors(measurement, style));
  if (measurement.abandoned > 0) {
    absl::StrAppend(&text, "\n", measurement.abandoned, " requests were under way at Ctrl-C\n");
  }
  if (run.swaps) absl::StrAppend(&text, RenderSwaps(*run.swaps, measurement, style));
  return text;
}

// "-": no request that was due in the window had two tokens; the run was too short.
std::string P99(const RunResult& run) {
  const Histogram& gaps = run.measurement.all.inter_token;
  return gaps.count() == 0 ? "-" : Time(gaps.Quantile(0.99));
}

std::string RenderPairs(const BenchReport& report, const render::Style& style) {
  using enum render::Table::Align;
  render::Table table({{"PAIR", kRight},
                       {"FIRST"},
                       {"ITL P99 WITHOUT", kRight},
                       {"ITL P99 WITH", kRight},
                       {"RATIO", kRight},
                       {"SWAPS", kRight},
                       {"ERRORS", kRight}});
  size_t number = 0;
  for (const RunPair& pair : report.pairs) {
    const auto ratio = P99Ratio(pair);
    table.AddRow({absl::StrCat(++number), pair.with_first ? "with" : "without", P99(pair.without),
                  P99(pair.with), ratio ? render::FormatFixed(*ratio, 4) : "-",
                  absl::StrCat(pair.with.swaps ? pair.with.swaps->swaps : 0),
                  absl::StrCat(pair.without.measurement.all.ErrorSum() +
                               pair.with.measurement.all.ErrorSum())});
  }
  std::string text = table.Render(style);
  const auto median = MedianP99Ratio(report.pairs, report.seed);
  if (!median) return text;
  absl::StrAppend(&text, "\np99 of inter-token latency with swaps over without: median ",
                  render::FormatFixed(median->value, 4));
  if (median->low && median->high) {
    absl::StrAppend(&text, " [", render::FormatFixed(*median->low, 4), ", ",
                    render::FormatFixed(*median->high, 4), "] 95%");
  }
  return text + "\n";
}

}  // namespace

std::optional<double> P99Ratio(const RunPair& pair) {
  const Histogram& without = pair.without.measurement.all.inter_token;
  const Histogram& with = pair.with.measurement.all.inter_token;
  if (without.Quantile(0.99) <= absl::ZeroDuration() || with.count() == 0) return std::nullopt;
  return absl::FDivDuration(with.Quantile(0.99), without.Quantile(0.99));
}

std::optional<eval::Median> MedianP99Ratio(const std::vector<RunPair>& pairs, uint64_t seed) {
  std::vector<double> ratios;
  for (const RunPair& pair : pairs) {
    if (const auto ratio = P99Ratio(pair)) ratios.push_back(*ratio);
  }
  if (ratios.empty()) return std::nullopt;
  return eval::BootstrapMedian(ratios, seed);
}

std::string RenderBench(const BenchReport& report, const render::Style& style) {
  if (!report.run) return RenderPairs(report, style);
  std::string text = RenderRun(*report.run, style);
  if (!report.comparison) return text;
  return absl::StrCat(text, "\n", RenderComparison(*report.comparison, style));
}

}  // namespace olmoe::client::bench
