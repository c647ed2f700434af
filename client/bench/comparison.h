// Arms of a run against a control: whether the split is as planned, and what differs.
#ifndef OLMOE_CLIENT_BENCH_COMPARISON_H_
#define OLMOE_CLIENT_BENCH_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/arm_units.h"
#include "client/bench/recorder.h"
#include "client/eval/bootstrap.h"
#include "client/eval/hypotheses.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::bench {

// Below this a split is broken, not unlucky (A. Fabijan et al., Diagnosing Sample Ratio
// Mismatch in Online Controlled Experiments, KDD 2019).
inline constexpr double kBrokenSplit = 0.001;
// With fewer units an interval of a bootstrap is too narrow to be one.
inline constexpr size_t kLeastUnits = 20;

struct CompareOptions {
  std::string control;        // "": the plan's first arm, or without a plan the first by name
  bool always_valid = false;  // intervals that hold whenever one stops
  uint64_t seed = 0;          // of the bootstrap
};

struct ArmShare {
  std::string arm;
  uint64_t units = 0;
  double planned = 0;  // share, 0..1
};

struct SampleRatio {
  std::vector<ArmShare> arms;  // those of the plan, in its order, then others
  eval::ChiSquare test;
  bool is_broken() const { return test.p_value < kBrokenSplit; }
};

// One arm against the control in one metric.
struct ArmDifference {
  Metric metric = Metric::kGenerateSeconds;
  std::string arm;
  size_t control_units = 0, units = 0;  // groups of units that have the metric
  // kLogprob: a difference in nats; others: relative. Its interval is of
  // Comparison::interval_confidence.
  eval::Contrast contrast;
  // Adjusted for the number of arms; unset, as the interval, where there are too few units.
  std::optional<double> holm_p_value;
  bool is_different = false;
};

struct Comparison {
  std::string control;
  bool always_valid = false;
  // Of each interval, so that those of all arms in one metric hold together with
  // eval::kConfidence: Bonferroni's.
  double interval_confidence = eval::kConfidence;
  std::optional<SampleRatio> sample_ratio;
  std::string not_tested;  // why there is no sample ratio
  std::vector<ArmDifference> differences;  // by metric, then by arm
};

// `record`: of the plan that the run should have had; an error: why it is not known. nullopt
// where neither the plan nor the run has two arms.
std::optional<Comparison> Compare(const Measurement& measurement,
                                  const absl::StatusOr<v1::PlanRecord>& record,
                                  const CompareOptions& options);

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_COMPARISON_H_
