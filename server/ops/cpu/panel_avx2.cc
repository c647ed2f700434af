// The panel kernels in AVX2 and FMA: blocks of two rows and 32 columns. bfloat16 becomes
// float32 by a shift: the first input of a pair is the low half of 32 bits.
#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/panel_functions.h"
#include "server/ops/cpu/vec_avx2.h"

#include "server/ops/cpu/swiglu_impl.h"

namespace olmoe::ops {
namespace {

constexpr int64_t kBlockRows = 2;
constexpr int64_t kVectors = 4;  // of 8 columns, in a panel
constexpr int64_t kPrefetchBytes = 2048;

inline __m256 FirstOf(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
inline __m256 SecondOf(__m256i pairs) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

inline __m256i Load(const void* from) {
  return _mm256_load_si256(static_cast<const __m256i*>(from));
}

// sums[row][v] += one step along the depth: a line of each half of the panel. kSteps of
// them read all lines of the halves, which are kHalfBytes apart.
struct Bf16Step {
  using Element = uint16_t;
  static constexpr int64_t kInputs = 2;
  static constexpr int64_t kSteps = 16;
  static constexpr int64_t kHalfBytes = kTileBytes;
  template <int kRows>
  static void Add(const uint16_t* x, int64_t stride, const char* weights,
                  __m256 (&sums)[kRows][kVectors]) {
    __m256 first[kRows], second[kRows];
#pragma GCC unroll 2
    for (int row = 0; row < kRows; ++row) {
      int32_t pair;
      __builtin_memcpy(&pair, x + row * stride, sizeof(pair));
      const __m256i pairs = _mm256_set1_epi32(pair);
      first[row] = FirstOf(pairs);
      second[row] = SecondOf(pairs);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m256i pairs = Load(weights + v / 2 * kHalfBytes + v % 2 * 32);
      const __m256 low = FirstOf(pairs), high = SecondOf(pairs);
#pragma GCC unroll 2
      for (int row = 0; row < kRows; ++row) {
        sums[row][v] = _mm256_fmadd_ps(first[row], low, sums[row][v]);
        sums[row][v] = _mm256_fmadd_ps(second[row], high, sums[row][v]);
      }
    }
  }
};

struct F32Step {
  using Element = float;
  static constexpr int64_t kInputs = 1;
  static constexpr int64_t kSteps = 1;
  static constexpr int64_t kHalfBytes = 64;
  template <int kRows>
  static void Add(const float* x, int64_t stride, const char* weights,
                  __m256 (&sums)[kRows][kVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m256 of_vector = _mm256_castsi256_ps(Load(weights + 32 * v));
#pragma GCC unroll 2
      for (int row = 0; row < kRows; ++row) {
        sums[row][v] = _mm256_fmadd_ps(_mm256_set1_ps(x[row * stride]), of_vector, sums[row][v]);
      }
    }
  }
};

struct StoreSums {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row,
                    const __m256 (&sums)[kVectors]) {
    const int64_t begin = panel * kPanelColumns;
    float* out = static_cast<float*>(task.out) + row * task.out_stride + begin;
    alignas(32) float all[kPanelColumns];
    for (int v = 0; v < kVectors; ++v) _mm256_store_ps(all + 8 * v, sums[v]);
    const int64_t left = task.columns - begin;
    for (int64_t i = 0; i < (left < kPanelColumns ? left : kPanelColumns); ++i) {
      out[i] = task.bias == nullptr ? all[i] : all[i] + task.bias[begin + i];
    }
  }
};

struct StoreSwiGluBf16 {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row,
                    const __m256 (&sums)[kVectors]) {
    uint16_t* out = static_cast<uint16_t*>(task.out) + row * task.out_stride + panel * kGateColumns;
    Vec::Narrow(out, SwiGluOf(sums[0], sums[2]));
    Vec::Narrow(out + 8, SwiGluOf(sums[1], sums[3]));
  }
};

struct StoreSwiGluF32 {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row,
                    const __m256 (&sums)[kVectors]) {
    float* out = static_cast<float*>(task.out) + row * task.out_stride + panel * kGateColumns;
    _mm256_storeu_ps(out, SwiGluOf(sums[0], sums[2]));
    _mm256_storeu_ps(out + 8, SwiGluOf(sums[1], sums[3]));
  }
};

template <typename Step, typename Epilogue, int kRows>
void Block(const PanelTask& task, int64_t panel, int64_t first_row) {
  using Element = typename Step::Element;
  const Element* x = static_cast<const Element*>(task.x) + first_row * task.x_stride;
  const char* weights = static_cast<const char*>(task.panels) +
                        panel * task.depth * kPanelColumns * static_cast<int64_t>(sizeof(Element));
  __m256 sums[kRows][kVectors];
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[row][v] = _mm256_setzero_ps();
  }
  for (int64_t k = 0; k < task.depth; weights += 2 * Step::kHalfBytes) {
    for (int64_t step = 0; step < Step::kSteps; ++step, k += Step::kInputs) {
      _mm_prefetch(weights + kPrefetchBytes + 128 * step, _MM_HINT_T0);
      _mm_prefetch(weights + kPrefetchBytes + 128 * step + 64, _MM_HINT_T0);
      Step::Add(x + k, task.x_stride, weights + 64 * step, sums);
    }
  }
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) Epilogue::Apply(task, panel, first_row + row, sums[row]);
}

template <typename Step, typename Epilogue>
void Multiply(const PanelTask& task) {
  for (int64_t panel = 0; panel < task.num_panels; ++panel) {
    int64_t row = 0;
    for (; row + kBlockRows <= task.rows; row += kBlockRows) {
      Block<Step, Epilogue, kBlockRows>(task, panel, row);
    }
    if (row < task.rows) Block<Step, Epilogue, 1>(task, panel, row);
  }
}

}  // namespace

void LinearBf16Avx2(const PanelTask& task) { Multiply<Bf16Step, StoreSums>(task); }
void LinearF32Avx2(const PanelTask& task) { Multiply<F32Step, StoreSums>(task); }
void SwiGluBf16Avx2(const PanelTask& task) { Multiply<Bf16Step, StoreSwiGluBf16>(task); }
void SwiGluF32Avx2(const PanelTask& task) { Multiply<F32Step, StoreSwiGluF32>(task); }

}  // namespace olmoe::ops
