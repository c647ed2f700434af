#include "client/eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace olmoe::client {
namespace {

// SplitMix64: the standard library's distributions differ between implementations.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // 0..count-1
  size_t Below(size_t count) {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    return static_cast<size_t>((static_cast<unsigned __int128>(z) * count) >> 64);
  }

 private:
  uint64_t state_;
};

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

}  // namespace olmoe::client
