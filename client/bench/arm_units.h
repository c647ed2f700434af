#ifndef OLMOE_CLIENT_BENCH_ARM_UNITS_H_
#define OLMOE_CLIENT_BENCH_ARM_UNITS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/bench/outcome.h"
#include "client/eval/bootstrap.h"

namespace olmoe::client::bench {

// What is compared between arms, each a mean.
enum class Metric : uint8_t {
  kGenerateSeconds,    // of a request, from when it was due to its end
  kFirstTokenSeconds,  // of a request, from when it was due
  kTokenSeconds,       // of a token after the first
  kScoreSeconds,       // of a request
  kCompletionTokens,   // of a request
  kLogprob,            // of a scored token, nats
};
inline constexpr size_t kMetrics = 6;

// The outcomes of one arm, summed by unit: what a bootstrap over units needs, in at most
// 0.1 MB and a bit for each unit, however many requests. Thread-compatible.
class ArmUnits {
 public:
  // Units beyond so many share the sums of another: number n those of n modulo this. Groups of
  // whole units are as independent as units are, so intervals stay right, and of a thousand
  // groups their width is off by 2%.
  static constexpr size_t kMostGroups = 1024;

  // A request of this arm, whether it succeeded or not: a failure counts for the split alone.
  void Add(const Outcome& outcome);

  // Different units that had a request.
  uint64_t units() const { return units_; }
  // Of the groups that had any.
  std::vector<eval::UnitSum> Sums(Metric metric) const;

 private:
  std::vector<std::array<eval::UnitSum, kMetrics>> groups_;  // as long as needed
  std::vector<bool> seen_;                                   // by number of the unit
  uint64_t units_ = 0;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_ARM_UNITS_H_
