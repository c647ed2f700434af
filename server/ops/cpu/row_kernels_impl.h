// The functions of RowKernels. Included after a vec_*.h.
#ifndef OLMOE_SERVER_OPS_CPU_ROW_KERNELS_IMPL_H_
#define OLMOE_SERVER_OPS_CPU_ROW_KERNELS_IMPL_H_

#include <cstdint>

#include "server/ops/cpu/row_kernels.h"

namespace olmoe::ops {
namespace {

// body(i, lanes) for the vectors of n floats; lanes < Vec::kLanes in the last one only.
template <typename Body>
[[gnu::always_inline]] inline void ForVectors(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) body(i, Vec::kLanes);
  if (i < n) body(i, static_cast<int>(n - i));
}

[[gnu::always_inline]] inline Vec::F Load(const float* from, int lanes) {
  return lanes == Vec::kLanes ? Vec::Load(from) : Vec::LoadFirst(from, lanes);
}
[[gnu::always_inline]] inline void Store(float* to, int lanes, Vec::F x) {
  if (lanes == Vec::kLanes) {
    Vec::Store(to, x);
  } else {
    Vec::StoreFirst(to, lanes, x);
  }
}
[[gnu::always_inline]] inline Vec::F Load(const uint16_t* from, int lanes) {
  if (lanes == Vec::kLanes) return Vec::Widen(from);
  uint16_t padded[Vec::kLanes] = {};
  __builtin_memcpy(padded, from, static_cast<size_t>(lanes) * sizeof(uint16_t));
  return Vec::Widen(padded);
}
[[gnu::always_inline]] inline void Store(uint16_t* to, int lanes, Vec::F x) {
  if (lanes == Vec::kLanes) return Vec::Narrow(to, x);
  uint16_t padded[Vec::kLanes];
  Vec::Narrow(padded, x);
  __builtin_memcpy(to, padded, static_cast<size_t>(lanes) * sizeof(uint16_t));
}

// Four sums side by side, for the latency of an addition.
inline float SumOfSquares(const float* x, int64_t n) {
  Vec::F sums[4] = {Vec::Zero(), Vec::Zero(), Vec::Zero(), Vec::Zero()};
  int64_t i = 0;
  for (; i + 4 * Vec::kLanes <= n; i += 4 * Vec::kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const Vec::F part = Vec::Load(x + i + j * Vec::kLanes);
      sums[j] = Vec::Fma(part, part, sums[j]);
    }
  }
  ForVectors(n - i, [&](int64_t rest, int lanes) {
    const Vec::F part = Load(x + i + rest, lanes);
    sums[0] = Vec::Fma(part, part, sums[0]);
  });
  return Vec::Sum(Vec::Add(Vec::Add(sums[0], sums[1]), Vec::Add(sums[2], sums[3])));
}

void RmsNorm(const float* x, const float* weight, int64_t n, float epsilon, float* to) {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  const Vec::F scale = Vec::Set(1.0f / __builtin_sqrtf(mean + epsilon));
  ForVectors(n, [&](int64_t i, int lanes) {
    Store(to + i, lanes, Vec::Mul(Vec::Mul(Load(x + i, lanes), scale), Load(weight + i, lanes)));
  });
}

void Rope(float* heads, int num_heads, int head_size, const float* cosines, const float* sines) {
  const int half = head_size / 2;
  for (int head = 0; head < num_heads; ++head) {
    float* first = heads + int64_t{head} * head_size;
    float* second = first + half;
    ForVectors(half, [&](int64_t i, int lanes) {
      const Vec::F a = Load(first + i, lanes), b = Load(second + i, lanes);
      const Vec::F cosine = Load(cosines + i, lanes), sine = Load(sines + i, lanes);
      Store(first + i, lanes, Vec::Sub(Vec::Mul(a, cosine), Vec::Mul(b, sine)));
      Store(second + i, lanes, Vec::Add(Vec::Mul(b, cosine), Vec::Mul(a, sine)));
    });
  }
}

void Clamp(float* x, int64_t n, float limit) {
  const Vec::F high = Vec::Set(limit), low = Vec::Set(-limit);
  ForVectors(n, [&](int64_t i, int lanes) {
    Store(x + i, lanes, Vec::Max(low, Vec::Min(high, Load(x + i, lanes))));
  });
}

void Add(const float* x, int64_t n, float* sum) {
  ForVectors(n, [&](int64_t i, int lanes) {
    Store(sum + i, lanes, Vec::Add(Load(sum + i, lanes), Load(x + i, lanes)));
  });
}

void AddWeighted(const float* const* slots, const float* weights, int num_slots, int64_t n,
                 float* sum) {
  ForVectors(n, [&](int64_t i, int lanes) {
    Vec::F total = Load(sum + i, lanes);
    for (int slot = 0; slot < num_slots; ++slot) {
      total = Vec::Fma(Vec::Set(weights[slot]), Load(slots[slot] + i, lanes), total);
    }
    Store(sum + i, lanes, total);
  });
}

template <typename From, typename To>
void Convert(const From* x, int64_t n, To* to) {
  ForVectors(n, [&](int64_t i, int lanes) { Store(to + i, lanes, Load(x + i, lanes)); });
}

constexpr RowKernels kRowKernels = {
    .rms_norm = RmsNorm,
    .rope = Rope,
    .clamp = Clamp,
    .add = Add,
    .add_weighted = AddWeighted,
    .widen = Convert<uint16_t, float>,
    .narrow = Convert<float, uint16_t>,
};

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ROW_KERNELS_IMPL_H_
