#include "client/compare/proportions.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace olmoe::client::compare {
namespace {

constexpr double kLeastExpected = 5;

// P(x) / P(mode) for x = mode, mode + 1, ... to where nothing is left; `ratio(x)` is
// P(x + 1) / P(x). That is soon: a small expected count means a small variance.
template <typename Ratio>
std::vector<double> Terms(double mode, double step, const Ratio& ratio) {
  std::vector<double> terms;
  double term = 1;
  for (double x = mode; term > 0; x += step) {
    terms.push_back(term);
    term *= step > 0 ? ratio(x) : 1 / ratio(x - 1);  // 1 / infinity before the smallest x
  }
  return terms;
}

// Given the sums of the table's rows and columns, the hits x of `a` are hypergeometric.
double FisherP(const Proportion& a, const Proportion& b) {
  const auto trials_a = static_cast<double>(a.trials), trials_b = static_cast<double>(b.trials);
  const double hits = static_cast<double>(a.hits) + static_cast<double>(b.hits);
  const auto ratio = [=](double x) {
    return (hits - x) * (trials_a - x) / ((x + 1) * (trials_b - hits + x + 1));
  };
  const double mode =
      std::clamp(std::floor((hits + 1) * (trials_a + 1) / (trials_a + trials_b + 2)),
                 std::max(0.0, hits - trials_b), std::min(hits, trials_a));
  const std::vector<double> up = Terms(mode, 1, ratio), down = Terms(mode, -1, ratio);
  const double away = static_cast<double>(a.hits) - mode;
  const std::vector<double>& side = away < 0 ? down : up;
  const auto steps = static_cast<size_t>(std::abs(away));
  if (steps >= side.size()) return 0;
  // As much as R allows for rounding: equally likely tables on the other side count.
  const double bound = side[steps] * (1 + 1e-7);
  double all = -1, tail = bound >= 1 ? -1 : 0;  // the mode is in both lists
  for (const std::vector<double>* terms : {&up, &down}) {
    for (const double term : *terms) {
      all += term;
      if (term <= bound) tail += term;
    }
  }
  return std::min(1.0, tail / all);
}

}  // namespace

ProportionTest TestSameShare(const Proportion& a, const Proportion& b) {
  const double trials_a = static_cast<double>(a.trials), trials_b = static_cast<double>(b.trials);
  const double trials = trials_a + trials_b;
  const double hits = static_cast<double>(a.hits) + static_cast<double>(b.hits);
  if (a.trials == 0 || b.trials == 0 || hits == 0 || hits == trials) return {};
  const double least_expected =
      std::min(trials_a, trials_b) * std::min(hits, trials - hits) / trials;
  if (least_expected < kLeastExpected) return {.p = FisherP(a, b), .exact = true};
  const double pooled = hits / trials;
  const double error = std::sqrt(pooled * (1 - pooled) * (1 / trials_a + 1 / trials_b));
  const double z = (a.Share() - b.Share()) / error;
  return {.p = std::erfc(std::abs(z) / std::sqrt(2.0))};  // both tails of the normal distribution
}

std::vector<double> QValues(const std::vector<double>& p_values) {
  std::vector<size_t> descending(p_values.size());
  std::iota(descending.begin(), descending.end(), size_t{0});
  std::stable_sort(descending.begin(), descending.end(),
                   [&](size_t i, size_t j) { return p_values[i] > p_values[j]; });
  std::vector<double> q_values(p_values.size());
  const auto count = static_cast<double>(p_values.size());
  double least = 1;
  for (size_t i = 0; i < descending.size(); ++i) {
    const double rank = count - static_cast<double>(i);
    least = std::min(least, p_values[descending[i]] * count / rank);
    q_values[descending[i]] = least;
  }
  return q_values;
}

}  // namespace olmoe::client::compare
