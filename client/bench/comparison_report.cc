#include "client/bench/comparison_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/render/format.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::bench {
namespace {

using nlohmann::ordered_json;

struct Words {
  const char* name;  // in JSON
  const char* title;
  const char* more;  // than the control
  const char* less;
};

const Words& WordsOf(Metric metric) {
  static constexpr std::array<Words, kMetrics> kWords = {{
      {"generate_seconds", "end-to-end latency", "slower", "faster"},
      {"first_token_seconds", "time to first token", "slower", "faster"},
      {"inter_token_seconds", "time per output token", "slower", "faster"},
      {"score_seconds", "latency of scores", "slower", "faster"},
      {"completion_tokens", "generated length", "longer", "shorter"},
      {"logprob_per_token", "log-probability of scored tokens", "higher", "lower"},
  }};
  return kWords[static_cast<size_t>(metric)];
}

std::string Number(Metric metric, double value) {
  return metric == Metric::kLogprob ? absl::StrFormat("%.4f", value)
                                    : absl::StrFormat("%.2f%%", 100 * value);
}

std::string UnitOf(Metric metric) { return metric == Metric::kLogprob ? " nats a token" : ""; }

std::string Interval(Metric metric, double low, double high) {
  return absl::StrCat("[", Number(metric, low), ", ", Number(metric, high), "]");
}

std::string Sentence(const SampleRatio& ratio) {
  std::vector<std::string> arms;
  for (const ArmShare& arm : ratio.arms) {
    arms.push_back(
        absl::StrFormat("%s %d units (planned %.1f%%)", arm.arm, arm.units, 100 * arm.planned));
  }
  const std::string counts =
      absl::StrFormat("%s; chi-square %.2f, p = %.3g", absl::StrJoin(arms, ", "), ratio.test.value,
                      ratio.test.p_value);
  if (!ratio.is_broken()) return absl::StrCat("split: as planned: ", counts);
  return absl::StrCat("THE SPLIT IS BROKEN, so trust no difference below: ", counts);
}

// With an interval.
std::string DifferenceSentence(const Comparison& comparison, const ArmDifference& row) {
  const double low = *row.contrast.low, high = *row.contrast.high;
  const bool holds_zero = low <= 0 && high >= 0;
  const Words& words = WordsOf(row.metric);
  if (!row.is_different) {
    return absl::StrCat("no difference between ", row.arm, " and ", comparison.control,
                        " shown: the interval ", Interval(row.metric, low, high),
                        UnitOf(row.metric), " holds 0");
  }
  const bool is_more = row.contrast.difference > 0;
  const std::string size =
      is_more ? Interval(row.metric, low, high) : Interval(row.metric, -high, -low);
  return absl::StrCat(
      row.arm, " is ", is_more ? words.more : words.less, " than ", comparison.control, " by ",
      Number(row.metric, std::abs(row.contrast.difference)), " ", size, UnitOf(row.metric),
      holds_zero ? absl::StrFormat(", by Holm's procedure (p = %.3g): the "
                                   "simultaneous interval still holds 0",
                                   *row.holm_p_value)
                 : "");
}

std::string Sentence(const Comparison& comparison, const ArmDifference& row) {
  const std::string title = absl::StrCat(WordsOf(row.metric).title, ": ");
  if (row.contrast.low) return title + DifferenceSentence(comparison, row);
  if (std::min(row.control_units, row.units) < kLeastUnits) {
    return absl::StrCat(title, "too few units to tell: ", row.arm, " has ", row.units, ", ",
                        comparison.control, " ", row.control_units, ", and ", kLeastUnits,
                        " are needed");
  }
  return absl::StrCat(title, row.arm, " has no relative difference: units of ", comparison.control,
                      " have a mean of 0");
}

ordered_json Optional(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json SampleRatioJson(const SampleRatio& ratio) {
  ordered_json out = {{"arms", ordered_json::object()}};
  for (const ArmShare& arm : ratio.arms) {
    out["arms"][arm.arm] = {{"units", arm.units}, {"planned_share", arm.planned}};
  }
  out["chi_square"] =
      std::isfinite(ratio.test.value) ? ordered_json(ratio.test.value) : ordered_json();
  out["degrees_of_freedom"] = ratio.test.degrees;
  out["p_value"] = ratio.test.p_value;
  out["is_broken"] = ratio.is_broken();
  return out;
}

ordered_json DifferenceJson(const Comparison& comparison, const ArmDifference& row) {
  const eval::Contrast& contrast = row.contrast;
  const bool has_both = row.control_units > 0 && row.units > 0;
  ordered_json out = {{"metric", WordsOf(row.metric).name}, {"arm", row.arm}};
  out["scale"] = row.metric == Metric::kLogprob ? "nats" : "relative";
  out["control_units"] = row.control_units;
  out["units"] = row.units;
  out["control_mean"] = has_both ? ordered_json(contrast.first) : ordered_json();
  out["mean"] = has_both ? ordered_json(contrast.other) : ordered_json();
  out["difference"] = has_both && std::isfinite(contrast.difference)
                          ? ordered_json(contrast.difference)
                          : ordered_json();
  out["low"] = Optional(contrast.low);
  out["high"] = Optional(contrast.high);
  out["p_value"] = contrast.low ? ordered_json(contrast.p_value) : ordered_json();
  out["holm_p_value"] = Optional(row.holm_p_value);
  out["is_different"] = contrast.low ? ordered_json(row.is_different) : ordered_json();
  out["verdict"] = Sentence(comparison, row);
  return out;
}

}  // namespace

std::vector<std::string> Verdict(const Comparison& comparison) {
  std::vector<std::string> sentences;
  sentences.push_back(comparison.sample_ratio
                          ? Sentence(*comparison.sample_ratio)
                          : absl::StrCat("split: not tested: ", comparison.not_tested));
  for (const ArmDifference& row : comparison.differences) {
    sentences.push_back(Sentence(comparison, row));
  }
  return sentences;
}

std::string RenderComparison(const Comparison& comparison, const render::Style& style) {
  std::string text;
  for (const std::string& sentence : Verdict(comparison)) {
    const std::string line = render::ForTerminal(render::OneLine(sentence));
    const bool is_broken =
        text.empty() && comparison.sample_ratio && comparison.sample_ratio->is_broken();
    absl::StrAppend(&text, is_broken ? style.Red(line) : line, "\n");
  }
  absl::StrAppend(&text, "Intervals in brackets hold at ",
                  absl::StrFormat("%g%%", 100 * eval::kConfidence),
                  comparison.always_valid ? ", whenever the run was ended" : ", looked at once",
                  comparison.interval_confidence > eval::kConfidence
                      ? absl::StrFormat(", for all arms of a metric together (Bonferroni: %.4g%% "
                                        "each); verdicts by Holm's procedure.\n",
                                        100 * comparison.interval_confidence)
                      : ".\n");
  return text;
}

ordered_json ComparisonJson(const Comparison& comparison) {
  ordered_json out = {{"control", comparison.control}, {"confidence", eval::kConfidence}};
  out["interval_confidence"] = comparison.interval_confidence;
  out["intervals"] = comparison.always_valid ? "always_valid" : "bootstrap";
  out["sample_ratio"] =
      comparison.sample_ratio ? SampleRatioJson(*comparison.sample_ratio) : ordered_json();
  out["not_tested"] =
      comparison.sample_ratio ? ordered_json() : ordered_json(comparison.not_tested);
  out["differences"] = ordered_json::array();
  for (const ArmDifference& row : comparison.differences) {
    out["differences"].push_back(DifferenceJson(comparison, row));
  }
  out["verdict"] = Verdict(comparison);
  return out;
}

}  // namespace olmoe::client::bench
