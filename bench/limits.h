// What this machine allows, measured in the same minute as what is compared with it:
// on shared machines the bandwidth moves by more than half within minutes.
#ifndef OLMOE_BENCH_LIMITS_H_
#define OLMOE_BENCH_LIMITS_H_

#include <cstddef>

#include "server/ops/cpu/isa.h"

namespace olmoe::bench {

// Memory that is read from end to end to see how fast that goes: anonymous, in 2 MiB pages where
// the system has them, larger than any cache. Thread-compatible.
class MemoryProbe {
 public:
  explicit MemoryProbe(size_t bytes);
  ~MemoryProbe();
  MemoryProbe(const MemoryProbe&) = delete;
  MemoryProbe& operator=(const MemoryProbe&) = delete;

  // Of the fastest of three passes by `threads` threads, each a part of it: as 1, 4 and 8 streams.
  double BytesPerSecond(int threads) const;

 private:
  const size_t bytes_;
  std::byte* const data_;
};

// Operations per second (two for a multiplication with its addition) on bfloat16 operands, or on
// float32 ones where the set has no such instruction, of `threads` threads that do nothing else and
// read no memory; for about `seconds`. 0 where there is no loop for the set: portable.
double PeakFlops(ops::CpuIsa isa, int threads, double seconds);

}  // namespace olmoe::bench

#endif  // OLMOE_BENCH_LIMITS_H_
