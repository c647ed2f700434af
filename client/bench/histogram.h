#ifndef OLMOE_CLIENT_BENCH_HISTOGRAM_H_
#define OLMOE_CLIENT_BENCH_HISTOGRAM_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace olmoe::client::bench {

// Durations in little memory, however many: buckets as wide as 1/1024 of their value (G.
// Tene's HdrHistogram), so a quantile is off by at most 0.05%. Count, mean, smallest and
// largest are exact. At most 0.5 MB. Thread-compatible.
class Histogram {
 public:
  // Below 0 counts as 0.
  void Add(absl::Duration value, uint64_t count = 1);
  void Merge(const Histogram& other);

  uint64_t count() const { return count_; }
  // Of an empty histogram: 0.
  absl::Duration Mean() const;
  absl::Duration Max() const { return absl::Nanoseconds(max_); }
  // The smallest value that at least a share of `quantile`, 0..1, does not exceed.
  absl::Duration Quantile(double quantile) const;

 private:
  std::vector<uint64_t> buckets_;  // as long as the largest value needs
  uint64_t count_ = 0;
  double sum_ = 0;  // ns
  int64_t min_ = 0, max_ = 0;  // ns
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_HISTOGRAM_H_
