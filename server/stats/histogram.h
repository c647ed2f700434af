#ifndef OLMOE_SERVER_STATS_HISTOGRAM_H_
#define OLMOE_SERVER_STATS_HISTOGRAM_H_

#include <cstdint>
#include <span>
#include <vector>

namespace olmoe::stats {

// Counts of values by upper bound, in Prometheus' sense. Thread-compatible.
class Histogram {
 public:
  // `bounds`: ascending, alive as long as the histogram (a constant).
  explicit Histogram(std::span<const double> bounds);

  void Add(double value, uint64_t times = 1);

  std::span<const double> bounds() const { return bounds_; }
  // [bounds + 1] values <= bound, not cumulative; the last is +Inf.
  const std::vector<uint64_t>& counts() const { return counts_; }
  double sum() const { return sum_; }

 private:
  std::span<const double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_HISTOGRAM_H_
