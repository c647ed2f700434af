#ifndef OLMOE_CLIENT_EVAL_BOOTSTRAP_H_
#define OLMOE_CLIENT_EVAL_BOOTSTRAP_H_

#include <cstdint>
#include <optional>
#include <span>

namespace olmoe::client::eval {

inline constexpr int kResamples = 10000;
inline constexpr double kConfidence = 0.95;

// The same unit under two policies. `weight`: its tokens, or 1 where units count alike.
struct PairedUnit {
  double first = 0, other = 0;  // sums over the unit: nats, right answers
  double weight = 0;            // > 0
};

struct Difference {
  double mean = 0;  // (sum of other - sum of first) / sum of weights
  // 95% of the resamples lie between; unset for fewer than two units.
  std::optional<double> low, high;
};

// Paired percentile bootstrap (B. Efron, R. Tibshirani, An Introduction to the
// Bootstrap, 1993, chapter 13). Units are drawn with replacement, both policies of a
// unit together: what makes a text easy or hard for both cancels, so a small difference
// shows on few units. Whole units are drawn and not tokens, because the tokens of one
// text are not independent. The interval is about other texts like these, not about
// other models. Same units and seed, same interval, on every machine.
Difference BootstrapDifference(std::span<const PairedUnit> units, uint64_t seed);

// One unit that was seen under one policy alone: a value summed over its requests, and what
// the sum is divided by (requests, tokens).
struct UnitSum {
  double sum = 0;
  double weight = 0;  // > 0
};

// How two means compare: by their difference, or by other / first - 1.
enum class Scale { kDifference, kRelative };

struct Contrast {
  double first = 0, other = 0;  // sum of sums / sum of weights
  double difference = 0;        // on the scale
  // `confidence` of the resamples lie between.
  std::optional<double> low, high;
  double standard_error = 0;  // standard deviation of the resamples' differences
  // Two-sided, of no difference: twice the share of resamples on the other side of 0 (or on
  // it), at least 2 / (kResamples + 1).
  double p_value = 1;
};

// Percentile bootstrap of two independent samples (Efron and Tibshirani, chapter 8), drawn by
// whole units: the requests of one unit are not independent, and intervals that take them for
// so are too narrow. A difference within rounding is 0. low and high are unset, and p_value is
// 1, where a sample has fewer than two units, or a relative difference does not exist.
Contrast BootstrapContrast(std::span<const UnitSum> first, std::span<const UnitSum> other,
                           Scale scale, double confidence, uint64_t seed);

struct Median {
  double value = 0;
  std::optional<double> low, high;  // as in Difference
};

// The median of `values`, one at least, and its percentile bootstrap interval.
Median BootstrapMedian(std::span<const double> values, uint64_t seed);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_BOOTSTRAP_H_
