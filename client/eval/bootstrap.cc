#include "client/eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "client/eval/random.h"

namespace olmoe::client::eval {
namespace {

double MeanOf(const UnitSum& total) { return total.sum / total.weight; }

UnitSum Total(std::span<const UnitSum> units) {
  UnitSum total;
  for (const UnitSum& unit : units) {
    total.sum += unit.sum;
    total.weight += unit.weight;
  }
  return total;
}

// The mean of as many units, drawn with replacement.
double ResampledMean(std::span<const UnitSum> units, Random* random) {
  UnitSum total;
  for (size_t i = 0; i < units.size(); ++i) {
    const UnitSum& unit = units[random->Below(units.size())];
    total.sum += unit.sum;
    total.weight += unit.weight;
  }
  return MeanOf(total);
}

// The sorted values of kResamples draws.
template <typename Draw>
std::vector<double> Resamples(uint64_t seed, const Draw& draw) {
  Random random(seed);
  std::vector<double> values(kResamples);
  for (double& value : values) value = draw(&random);
  std::sort(values.begin(), values.end());
  return values;
}

// Linear between the order statistics. `sorted` is not empty.
double Quantile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - std::floor(position)) * (sorted[above] - sorted[below]);
}

// Sets low and high of a Difference, a Contrast or a Median.
template <typename Result>
void SetInterval(const std::vector<double>& sorted, double confidence, Result* result) {
  result->low = Quantile(sorted, (1 - confidence) / 2);
  result->high = Quantile(sorted, (1 + confidence) / 2);
}

// `values` is not empty.
double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return Quantile(values, 0.5);
}

// Sums of the same numbers in another order, or of another count, are off by their rounding:
// that is no difference. Infinite where `first` is 0 on a relative scale.
double Compare(double first, double other, Scale scale) {
  constexpr double kRounding = 1e-12;
  const double difference = other - first;
  if (std::abs(difference) <= kRounding * (std::abs(first) + std::abs(other))) return 0;
  if (scale == Scale::kDifference) return difference;
  return first == 0 ? std::numeric_limits<double>::infinity() : difference / first;
}

double StandardDeviation(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double TwoSidedPValue(const std::vector<double>& sorted) {
  const auto not_above = std::upper_bound(sorted.begin(), sorted.end(), 0.0) - sorted.begin();
  const auto not_below = sorted.end() - std::lower_bound(sorted.begin(), sorted.end(), 0.0);
  const double least = static_cast<double>(std::min(not_above, not_below));
  return std::min(1.0, 2 * (least + 1) / (static_cast<double>(sorted.size()) + 1));
}

}  // namespace

Difference BootstrapDifference(std::span<const PairedUnit> units, uint64_t seed) {
  std::vector<UnitSum> differences;
  for (const PairedUnit& unit : units)
    differences.push_back({unit.other - unit.first, unit.weight});
  Difference result;
  result.mean = MeanOf(Total(differences));
  if (units.size() < 2) return result;
  const auto draw = [&](Random* random) { return ResampledMean(differences, random); };
  SetInterval(Resamples(seed, draw), kConfidence, &result);
  return result;
}

Contrast BootstrapContrast(std::span<const UnitSum> first, std::span<const UnitSum> other,
                           Scale scale, double confidence, uint64_t seed) {
  Contrast result;
  if (first.empty() || other.empty()) return result;
  result.first = MeanOf(Total(first));
  result.other = MeanOf(Total(other));
  result.difference = Compare(result.first, result.other, scale);
  if (first.size() < 2 || other.size() < 2) return result;
  const std::vector<double> sorted = Resamples(seed, [&](Random* random) {
    const double mean = ResampledMean(first, random);
    return Compare(mean, ResampledMean(other, random), scale);
  });
  // Sorted, so the last is infinite if any is.
  if (!std::isfinite(result.difference) || !std::isfinite(sorted.back())) return result;
  SetInterval(sorted, confidence, &result);
  result.standard_error = StandardDeviation(sorted);
  result.p_value = TwoSidedPValue(sorted);
  return result;
}

Median BootstrapMedian(std::span<const double> values, uint64_t seed) {
  Median result;
  result.value = MedianOf({values.begin(), values.end()});
  if (values.size() < 2) return result;
  std::vector<double> sample(values.size());
  const auto draw = [&](Random* random) {
    for (double& value : sample) value = values[random->Below(values.size())];
    return MedianOf(sample);
  };
  SetInterval(Resamples(seed, draw), kConfidence, &result);
  return result;
}

}  // namespace olmoe::client::eval
