#include "client/bench/comparison.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::client::bench {
namespace {

// Where always-valid intervals are tightest: differences of a tenth, or of 0.1 nats a token.
constexpr double kTau = 0.1;

eval::Scale ScaleOf(Metric metric) {
  return metric == Metric::kLogprob ? eval::Scale::kDifference : eval::Scale::kRelative;
}

// Arms and their weights: those of the plan that get units, then those that only the run has.
std::vector<std::pair<std::string, uint32_t>> Arms(const Measurement& measurement,
                                                   const v1::RoutingPlan& plan) {
  std::vector<std::pair<std::string, uint32_t>> arms;
  std::set<std::string> planned;
  for (const v1::Arm& arm : plan.arms()) {
    if (arm.weight() == 0) continue;
    arms.emplace_back(arm.arm_id(), arm.weight());
    planned.insert(arm.arm_id());
  }
  for (const auto& [arm, units] : measurement.units) {
    if (!planned.contains(arm)) arms.emplace_back(arm, 0);
  }
  return arms;
}

const ArmUnits& UnitsOf(const Measurement& measurement, const std::string& arm) {
  static const ArmUnits kNone;
  const auto found = measurement.units.find(arm);
  return found == measurement.units.end() ? kNone : found->second;
}

// Why the split cannot be tested; "": it can.
std::string WhyNotTested(const Measurement& measurement,
                         const absl::StatusOr<v1::PlanRecord>& record) {
  if (!record.ok()) return std::string(record.status().message());
  const std::set<uint64_t>& seen = measurement.generations;
  const bool is_other = std::any_of(seen.begin(), seen.end(), [&record](uint64_t generation) {
    return generation != record->generation();
  });
  const auto& arms = record->plan().arms();
  const auto with_units =
      std::count_if(arms.begin(), arms.end(), [](const v1::Arm& arm) { return arm.weight() > 0; });
  if (!is_other) return with_units < 2 ? "the plan splits nothing" : "";
  return absl::StrCat("the plan was of generation ", record->generation(),
                      " before the run, and requests saw ", *seen.begin(), " to ", *seen.rbegin());
}

SampleRatio TestSplit(const Measurement& measurement,
                      const std::vector<std::pair<std::string, uint32_t>>& arms) {
  SampleRatio ratio;
  std::vector<uint64_t> counts;
  std::vector<uint32_t> weights;
  double sum = 0;
  for (const auto& [arm, weight] : arms) sum += weight;
  for (const auto& [arm, weight] : arms) {
    counts.push_back(UnitsOf(measurement, arm).units());
    weights.push_back(weight);
    ratio.arms.push_back({arm, counts.back(), sum > 0 ? weight / sum : 0});
  }
  ratio.test = eval::SampleRatioTest(counts, weights);
  return ratio;
}

bool ExcludesZero(const eval::Contrast& contrast) {
  return *contrast.low > 0 || *contrast.high < 0;
}

ArmDifference MakeDifference(const Comparison& comparison, const CompareOptions& options,
                             Metric metric, const std::vector<eval::UnitSum>& control,
                             const std::vector<eval::UnitSum>& other) {
  ArmDifference row;
  row.metric = metric;
  row.control_units = control.size();
  row.units = other.size();
  row.contrast = eval::BootstrapContrast(control, other, ScaleOf(metric),
                                         comparison.interval_confidence, options.seed);
  eval::Contrast& contrast = row.contrast;
  if (std::min(control.size(), other.size()) < kLeastUnits) contrast.low = contrast.high = {};
  if (!contrast.low || !comparison.always_valid) return row;
  const eval::AlwaysValid valid = eval::AlwaysValidInterval(
      contrast.difference, contrast.standard_error, kTau, comparison.interval_confidence);
  contrast.low = valid.low;
  contrast.high = valid.high;
  contrast.p_value = valid.p_value;
  return row;
}

// Sets what the arms have together: rows of one metric.
void Judge(std::vector<ArmDifference>* rows) {
  std::vector<double> p_values;
  for (const ArmDifference& row : *rows) {
    if (row.contrast.low) p_values.push_back(row.contrast.p_value);
  }
  const std::vector<double> adjusted = eval::HolmAdjusted(p_values);
  auto next = adjusted.begin();
  for (ArmDifference& row : *rows) {
    if (!row.contrast.low) continue;
    row.holm_p_value = *next++;
    // What Bonferroni's interval excludes Holm rejects; they may differ by the steps of a quantile.
    row.is_different = *row.holm_p_value < 1 - eval::kConfidence || ExcludesZero(row.contrast);
  }
}

}  // namespace

std::optional<Comparison> Compare(const Measurement& measurement,
                                  const absl::StatusOr<v1::PlanRecord>& record,
                                  const CompareOptions& options) {
  const auto arms = Arms(measurement, record.ok() ? record->plan() : v1::RoutingPlan());
  if (arms.size() < 2) return std::nullopt;
  Comparison comparison;
  comparison.control = options.control.empty() ? arms[0].first : options.control;
  comparison.always_valid = options.always_valid;
  comparison.not_tested = WhyNotTested(measurement, record);
  if (comparison.not_tested.empty()) comparison.sample_ratio = TestSplit(measurement, arms);
  const auto others = std::count_if(arms.begin(), arms.end(), [&comparison](const auto& arm) {
    return arm.first != comparison.control;
  });
  comparison.interval_confidence = 1 - (1 - eval::kConfidence) / static_cast<double>(others);
  for (size_t i = 0; i < kMetrics; ++i) {
    const auto metric = static_cast<Metric>(i);
    const auto control = UnitsOf(measurement, comparison.control).Sums(metric);
    std::vector<ArmDifference> rows;
    for (const auto& arm : arms) {
      if (arm.first == comparison.control) continue;
      const auto other = UnitsOf(measurement, arm.first).Sums(metric);
      if (control.empty() && other.empty()) continue;
      rows.push_back(MakeDifference(comparison, options, metric, control, other));
      rows.back().arm = arm.first;
    }
    Judge(&rows);
    std::move(rows.begin(), rows.end(), std::back_inserter(comparison.differences));
  }
  return comparison;
}

}  // namespace olmoe::client::bench
