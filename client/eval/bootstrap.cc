#include "client/eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "client/eval/random.h"

namespace olmoe::client::eval {
namespace {

double ResampledMean(std::span<const PairedUnit> units, Random* random) {
  double sum = 0, weight = 0;
  for (size_t i = 0; i < units.size(); ++i) {
    const PairedUnit& unit = units[random->Below(units.size())];
    sum += unit.other - unit.first;
    weight += unit.weight;
  }
  return sum / weight;
}

// Linear between the order statistics. `sorted` is not empty.
double Quantile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - std::floor(position)) * (sorted[above] - sorted[below]);
}

// `values` is not empty.
double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return Quantile(values, 0.5);
}

}  // namespace

Difference BootstrapDifference(std::span<const PairedUnit> units, uint64_t seed) {
  double sum = 0, weight = 0;
  for (const PairedUnit& unit : units) {
    sum += unit.other - unit.first;
    weight += unit.weight;
  }
  Difference result;
  result.mean = sum / weight;
  if (units.size() < 2) return result;
  Random random(seed);
  std::vector<double> means(kResamples);
  for (double& mean : means) mean = ResampledMean(units, &random);
  std::sort(means.begin(), means.end());
  result.low = Quantile(means, (1 - kConfidence) / 2);
  result.high = Quantile(means, (1 + kConfidence) / 2);
  return result;
}

Median BootstrapMedian(std::span<const double> values, uint64_t seed) {
  Median result;
  result.value = MedianOf({values.begin(), values.end()});
  if (values.size() < 2) return result;
  Random random(seed);
  std::vector<double> medians(kResamples), sample(values.size());
  for (double& median : medians) {
    for (double& value : sample) value = values[random.Below(values.size())];
    median = MedianOf(sample);
  }
  std::sort(medians.begin(), medians.end());
  result.low = Quantile(medians, (1 - kConfidence) / 2);
  result.high = Quantile(medians, (1 + kConfidence) / 2);
  return result;
}

}  // namespace olmoe::client::eval
