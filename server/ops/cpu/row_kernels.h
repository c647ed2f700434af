#ifndef OLMOE_SERVER_OPS_CPU_ROW_KERNELS_H_
#define OLMOE_SERVER_OPS_CPU_ROW_KERNELS_H_

#include <cstdint>

#include "server/ops/cpu/isa.h"

namespace olmoe::ops {

// What is done to one row of activations at a time. A row's result depends on that row
// only, so not on how many rows a step has or which thread takes it; sums go over fixed
// lanes in a fixed order. bfloat16 is bits in a uint16_t, rounded to nearest even. Any n,
// no alignment. Pure functions. A table is immutable.
struct RowKernels {
  // to[i] = x[i] * weight[i] / sqrt(mean of squares + epsilon). `to` may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* to);
  // Rotates the two halves of every head by the angles of its dimensions:
  // heads [num_heads][head_size], cosines and sines [head_size / 2] of the row's position.
  void (*rope)(float* heads, int num_heads, int head_size, const float* cosines,
               const float* sines);
  // To [-limit, limit]; NaN stays NaN.
  void (*clamp)(float* x, int64_t n, float limit);
  void (*add)(const float* x, int64_t n, float* sum);  // sum += x
  // sum += weights[0] * slots[0] + ..., one after the other.
  void (*add_weighted)(const float* const* slots, const float* weights, int num_slots, int64_t n,
                       float* sum);
  void (*widen)(const uint16_t* x, int64_t n, float* to);
  void (*narrow)(const float* x, int64_t n, uint16_t* to);
};

// CHECKs that `isa` is supported.
const RowKernels& RowKernelsFor(CpuIsa isa);

// How queries, keys and values are finished before attention.
struct QkvFinish {
  const float* query_norm = nullptr;  // weights [query_size]
  const float* key_norm = nullptr;    // weights [kv_size]
  float epsilon = 0;
  float clip = 0;  // 0: not clipped
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_size = 0;
};

// One row [queries | keys | values] of a projection, in place: queries and keys normed, each
// over all of their heads together, all three clipped, queries and keys rotated.
void FinishQkvRow(const RowKernels& kernels, const QkvFinish& finish, const float* cosines,
                  const float* sines, float* row);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ROW_KERNELS_H_
