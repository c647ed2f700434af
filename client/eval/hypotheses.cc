#include "client/eval/hypotheses.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

#include "boost/math/distributions/chi_squared.hpp"

namespace olmoe::client::eval {

ChiSquare SampleRatioTest(std::span<const uint64_t> counts, std::span<const uint32_t> weights) {
  const double units = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double weight = std::accumulate(weights.begin(), weights.end(), 0.0);
  ChiSquare result;
  if (units == 0 || weight == 0) return result;
  bool impossible = false;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (weights[i] == 0) {
      impossible = impossible || counts[i] > 0;
      continue;
    }
    const double expected = units * weights[i] / weight;
    const double difference = static_cast<double>(counts[i]) - expected;
    result.value += difference * difference / expected;
    ++result.degrees;
  }
  --result.degrees;
  if (impossible) return {std::numeric_limits<double>::infinity(), result.degrees, 0};
  if (result.degrees == 0) return result;
  const boost::math::chi_squared distribution(result.degrees);
  result.p_value = boost::math::cdf(boost::math::complement(distribution, result.value));
  return result;
}

std::vector<double> HolmAdjusted(std::span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&p_values](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double factor = static_cast<double>(order.size() - i);
    largest = std::max(largest, std::min(1.0, factor * p_values[order[i]]));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

AlwaysValid AlwaysValidInterval(double estimate, double standard_error, double tau,
                                double confidence) {
  const double variance = standard_error * standard_error, prior = tau * tau;
  // Nothing varied: the limit for a variance of 0.
  if (variance == 0) return {estimate, estimate, estimate == 0 ? 1.0 : 0.0};
  const double log_ratio = std::log1p(prior / variance);
  // Where the mixture's likelihood ratio is 1 / (1 - confidence).
  const double half =
      std::sqrt(variance * (1 + variance / prior) * (log_ratio - 2 * std::log(1 - confidence)));
  const double log_likelihood_ratio =
      estimate * estimate * prior / (2 * variance * (variance + prior)) - log_ratio / 2;
  return {estimate - half, estimate + half, std::min(1.0, std::exp(-log_likelihood_ratio))};
}

}  // namespace olmoe::client::eval
