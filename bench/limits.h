// What this machine allows, measured in the same minute as what is compared with it:
// on shared machines the bandwidth moves by more than half within minutes.
#ifndef OLMOE_BENCH_LIMITS_H_
#define OLMOE_BENCH_LIMITS_H_

#include <cstddef>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace olmoe::bench {

using Region = std::span<const std::byte>;

// Bytes of memory in 2 MiB pages, for probes where there are no weights to read.
std::vector<at::Tensor> MakeRegions(int64_t bytes);

// Seconds to read all regions once, by `threads` threads, each a part of every region.
double ReadSeconds(const std::vector<Region>& regions, int threads);

// Seconds of at::linear with `rows` rows of input over every matrix [out, in].
double LinearSeconds(const std::vector<at::Tensor>& matrices, int64_t rows);

}  // namespace olmoe::bench

#endif  // OLMOE_BENCH_LIMITS_H_
