#ifndef OLMOE_CLIENT_BENCH_ARRIVALS_H_
#define OLMOE_CLIENT_BENCH_ARRIVALS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "client/eval/random.h"

namespace olmoe::client::bench {

// When the requests of an open loop are due, whatever the server does: a Poisson process,
// as many independent users make one, or one every 1/rate. Same options, same times.
// Thread-compatible.
class Arrivals {
 public:
  struct Options {
    double per_second = 1;  // > 0
    bool constant = false;
    uint64_t seed = 0;
  };
  explicit Arrivals(const Options& options) : options_(options), random_(options.seed) {}

  // Of the next request, from the beginning; never earlier than the one before.
  absl::Duration Next();

 private:
  const Options options_;
  eval::Random random_;
  uint64_t count_ = 0;
  double seconds_ = 0;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_ARRIVALS_H_
