// The products of attention by fused multiplications of float32 vectors, for keys and values
// of either element. Included after a vec_*.h.
//
// Queries are taken kRows at a time, so that a vector of keys or values, once loaded (and
// widened), meets kRows queries, and enough sums are under way to hide the latency of an
// addition. kRows changes which sums run side by side, not the terms or the order of any.
#ifndef OLMOE_SERVER_OPS_CPU_ATTENTION_VECTOR_IMPL_H_
#define OLMOE_SERVER_OPS_CPU_ATTENTION_VECTOR_IMPL_H_

#include "server/ops/cpu/attention_impl.h"

namespace olmoe::ops {
namespace {

// Two vectors of a strip: lanes `lane` ... of dimensions d and d + 1 (d even) of its keys.
[[gnu::always_inline]] inline Vec::Pair KeyPair(const uint16_t* strip, int d, int lane) {
  return Vec::WidenPairs(strip + d * kStrip + 2 * lane);
}
[[gnu::always_inline]] inline Vec::Pair KeyPair(const float* strip, int d, int lane) {
  return {Vec::Load(strip + d * kStrip + lane), Vec::Load(strip + (d + 1) * kStrip + lane)};
}

// Dimensions d ... of positions i and i + 1 (i even) of its values.
[[gnu::always_inline]] inline Vec::Pair ValuePair(const uint16_t* strip, int dims, int i, int d) {
  return Vec::WidenPairs(strip + i * dims + 2 * d);
}
[[gnu::always_inline]] inline Vec::Pair ValuePair(const float* strip, int dims, int i, int d) {
  return {Vec::Load(strip + i * dims + d), Vec::Load(strip + (i + 1) * dims + d)};
}

// With one query, memory is what the time goes into: as many values as keys are read.
[[gnu::always_inline]] inline void PrefetchPair(const uint16_t* values) {
  __builtin_prefetch(values);
}
[[gnu::always_inline]] inline void PrefetchPair(const float* values) {
  __builtin_prefetch(values);
  __builtin_prefetch(values + kStrip);
}

template <typename ElementType>
class VectorProducts {
 public:
  using Element = ElementType;

  VectorProducts(const KvLayout& layout, int /*num_queries*/, float* queries, float* memory)
      : dims_(layout.padded_size()), queries_(queries), logits_(memory) {}

  void SetQuery(int query, const float* scaled) {
    __builtin_memcpy(queries_ + query * dims_, scaled, static_cast<size_t>(dims_) * sizeof(float));
  }
  void StartMix(KeyBlock<Element>* /*block*/, Element* /*values*/) {}

  const float* logits() const { return logits_; }
  // In place: these lanes of the logits have been read.
  void StoreWeights(int row, int lane, Vec::F first, Vec::F second) {
    Vec::Store(logits_ + row * kKeyBlock + lane, first);
    Vec::Store(logits_ + row * kKeyBlock + lane + Vec::kLanes, second);
  }

  void Logits(int tile, int rows, const KeyBlock<Element>& block, int n) {
    ForRows(rows, [&](auto number, int row) {
      constexpr int kRows = decltype(number)::kValue;
      LogitsOf<kRows>(queries_ + (tile + row) * dims_, block, n, logits_ + row * kKeyBlock);
    });
  }

  void Mix(int rows, const KeyBlock<Element>& block, int n, float* output) {
    ForRows(rows, [&](auto number, int row) {
      constexpr int kRows = decltype(number)::kValue;
      MixOf<kRows>(logits_ + row * kKeyBlock, block, n, output + row * dims_);
    });
  }

 private:
  template <int n>
  struct Number {
    static constexpr int kValue = n;
  };

  // body(Number<rows>, first row) for groups of rows that make up all of them.
  template <typename Body>
  static void ForRows(int rows, const Body& body) {
    constexpr int kMost = Vec::kAccumulators / 2;
    int row = 0;
    for (; row + kMost <= rows; row += kMost) body(Number<kMost>(), row);
    if constexpr (kMost > 4) {
      if (row + 4 <= rows) body(Number<4>(), row), row += 4;
    }
    if (row + 2 <= rows) body(Number<2>(), row), row += 2;
    if (row < rows) body(Number<1>(), row);
  }

  // Strips side by side: as many sums as there are registers for.
  template <int kRows>
  [[gnu::always_inline]] inline void LogitsOf(const float* queries, const KeyBlock<Element>& block,
                                              int n, float* logits) const {
    constexpr int kVectors = kStrip / Vec::kLanes;
    constexpr int kFit = Vec::kAccumulators / (kRows * kVectors);
    constexpr int kStrips = kFit < 1 ? 1 : kFit > kStripsPerBlock ? kStripsPerBlock : kFit;
    int strip = 0;
    for (; (strip + kStrips - 1) * kStrip < n; strip += kStrips) {
      LogitsOfStrips<kRows, kStrips>(queries, block, strip, logits + strip * kStrip);
    }
    for (; strip * kStrip < n; ++strip) {
      LogitsOfStrips<kRows, 1>(queries, block, strip, logits + strip * kStrip);
    }
  }

  template <int kRows, int kStrips>
  [[gnu::noinline]] void LogitsOfStrips(const float* queries, const KeyBlock<Element>& block,
                                        int first_strip, float* logits) const {
    constexpr int kVectors = kStrips * (kStrip / Vec::kLanes);
    const Element* strips[kStrips];
    const Element* values[kStrips];
    for (int i = 0; i < kStrips; ++i) {
      strips[i] = block.keys[first_strip + i];
      values[i] = block.values[first_strip + i];
    }
    Vec::F sums[kRows][kVectors];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) sums[row][i] = Vec::Zero();
    }
    for (int d = 0; d < dims_; d += 2) {
      Vec::Pair pairs[kVectors];
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) {
        const int lane = i * Vec::kLanes;
        pairs[i] = KeyPair(strips[lane / kStrip], d, lane % kStrip);
      }
      if constexpr (kRows == 1) {
#pragma GCC unroll 16
        for (int i = 0; i < kStrips; ++i) PrefetchPair(values[i] + d * kStrip);
      }
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const Vec::F even = Vec::Set(queries[row * dims_ + d]);
        const Vec::F odd = Vec::Set(queries[row * dims_ + d + 1]);
#pragma GCC unroll 16
        for (int i = 0; i < kVectors; ++i) {
          sums[row][i] = Vec::Fma(even, pairs[i].even, sums[row][i]);
          sums[row][i] = Vec::Fma(odd, pairs[i].odd, sums[row][i]);
        }
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) {
        Vec::Store(logits + row * kKeyBlock + i * Vec::kLanes, sums[row][i]);
      }
    }
  }

  // Dimensions in parts of as many vectors as there are registers for.
  template <int kRows>
  [[gnu::always_inline]] inline void MixOf(const float* weights, const KeyBlock<Element>& block,
                                           int n, float* output) const {
    constexpr int kFit = Vec::kAccumulators / kRows;
    constexpr int kVectors = kFit > 8 ? 8 : kFit;
    constexpr int kWidth = kVectors * Vec::kLanes;
    int d = 0;
    for (; d + kWidth <= dims_; d += kWidth) {
      MixOfDims<kRows, kVectors>(weights, block, n, d, output + d);
    }
    for (; d < dims_; d += Vec::kLanes) MixOfDims<kRows, 1>(weights, block, n, d, output + d);
  }

  template <int kRows, int kVectors>
  [[gnu::noinline]] void MixOfDims(const float* weights, const KeyBlock<Element>& block, int n,
                                   int d, float* output) const {
    Vec::F sums[kRows][kVectors];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) {
        sums[row][i] = Vec::Load(output + row * dims_ + i * Vec::kLanes);
      }
    }
    for (int strip = 0; strip * kStrip < n; ++strip) {
      const Element* values = block.values[strip];
      const float* of_strip = weights + strip * kStrip;
      const int number = Smaller(kStrip, n - strip * kStrip);
      for (int i = 0; i < number; i += 2) {
        Vec::Pair pairs[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          pairs[v] = ValuePair(values, dims_, i, d + v * Vec::kLanes);
        }
        const bool both = i + 1 < number;  // else the second lies beyond the context
#pragma GCC unroll 16
        for (int row = 0; row < kRows; ++row) {
          const Vec::F even = Vec::Set(of_strip[row * kKeyBlock + i]);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) {
            sums[row][v] = Vec::Fma(even, pairs[v].even, sums[row][v]);
          }
        }
        if (!both) break;
#pragma GCC unroll 16
        for (int row = 0; row < kRows; ++row) {
          const Vec::F odd = Vec::Set(of_strip[row * kKeyBlock + i + 1]);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) {
            sums[row][v] = Vec::Fma(odd, pairs[v].odd, sums[row][v]);
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) {
        Vec::Store(output + row * dims_ + i * Vec::kLanes, sums[row][i]);
      }
    }
  }

  const int dims_;
  float* const queries_;  // scaled, [kQueriesPerPass][dims]
  float* const logits_;   // [kTileQueries][kKeyBlock]
};

inline void AttendByVectors(const KvLayout& layout, const AttentionRows& rows, void* scratch) {
  if (layout.element_bytes == 2) {
    Attend<VectorProducts<uint16_t>>(layout, rows, scratch);
  } else {
    Attend<VectorProducts<float>>(layout, rows, scratch);
  }
}

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ATTENTION_VECTOR_IMPL_H_
