// The panel kernels in AVX512: blocks of up to 12 rows and 32 columns, whose 24 sums stay
// in registers; every weight is loaded once a block, every input broadcast once.
#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/avx512_epilogue.h"
#include "server/ops/cpu/panel_functions.h"

namespace olmoe::ops {
namespace {

constexpr int64_t kBlockRows = 12;
constexpr int64_t kPrefetchBytes = 2048;

// One step along the depth: a line of each half of the panel, 4 bytes of every row of x.
// kSteps of them read all lines of the halves, which are kHalfBytes apart.
struct Bf16Step {
  using Element = uint16_t;
  static constexpr int64_t kInputs = 2;
  static constexpr int64_t kSteps = 16;
  static constexpr int64_t kHalfBytes = kTileBytes;
  static __m512 Broadcast(const uint16_t* x) {
    int32_t pair;
    __builtin_memcpy(&pair, x, sizeof(pair));
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
  }
  static __m512 Add(__m512 sum, __m512 x, __m512 weights) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x),
                            reinterpret_cast<__m512bh>(weights));
  }
};

struct F32Step {
  using Element = float;
  static constexpr int64_t kInputs = 1;
  static constexpr int64_t kSteps = 1;
  static constexpr int64_t kHalfBytes = 64;
  static __m512 Broadcast(const float* x) { return _mm512_set1_ps(*x); }
  static __m512 Add(__m512 sum, __m512 x, __m512 weights) {
    return _mm512_fmadd_ps(x, weights, sum);
  }
};

template <typename Step, typename Epilogue, int kRows>
void Block(const PanelTask& task, int64_t panel, int64_t first_row) {
  using Element = typename Step::Element;
  const Element* x = static_cast<const Element*>(task.x) + first_row * task.x_stride;
  const char* weights = static_cast<const char*>(task.panels) +
                        panel * task.depth * kPanelColumns * static_cast<int64_t>(sizeof(Element));
  __m512 low[kRows], high[kRows];
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) low[row] = high[row] = _mm512_setzero_ps();
  for (int64_t k = 0; k < task.depth; weights += 2 * Step::kHalfBytes) {
    for (int64_t step = 0; step < Step::kSteps; ++step, k += Step::kInputs) {
      _mm_prefetch(weights + kPrefetchBytes + 128 * step, _MM_HINT_T0);
      _mm_prefetch(weights + kPrefetchBytes + 128 * step + 64, _MM_HINT_T0);
      const __m512 of_low = _mm512_load_ps(weights + 64 * step);
      const __m512 of_high = _mm512_load_ps(weights + Step::kHalfBytes + 64 * step);
#pragma GCC unroll 12
      for (int row = 0; row < kRows; ++row) {
        const __m512 input = Step::Broadcast(x + row * task.x_stride + k);
        low[row] = Step::Add(low[row], input, of_low);
        high[row] = Step::Add(high[row], input, of_high);
      }
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
    Epilogue::Apply(task, panel, first_row + row, low[row], high[row]);
  }
}

template <typename Step, typename Epilogue>
void BlockOf(const PanelTask& task, int64_t panel, int64_t first_row, int64_t rows) {
  switch (rows) {
    case 1: return Block<Step, Epilogue, 1>(task, panel, first_row);
    case 2: return Block<Step, Epilogue, 2>(task, panel, first_row);
    case 3: return Block<Step, Epilogue, 3>(task, panel, first_row);
    case 4: return Block<Step, Epilogue, 4>(task, panel, first_row);
    case 5: return Block<Step, Epilogue, 5>(task, panel, first_row);
    case 6: return Block<Step, Epilogue, 6>(task, panel, first_row);
    case 7: return Block<Step, Epilogue, 7>(task, panel, first_row);
    case 8: return Block<Step, Epilogue, 8>(task, panel, first_row);
    case 9: return Block<Step, Epilogue, 9>(task, panel, first_row);
    case 10: return Block<Step, Epilogue, 10>(task, panel, first_row);
    case 11: return Block<Step, Epilogue, 11>(task, panel, first_row);
    default: return Block<Step, Epilogue, 12>(task, panel, first_row);
  }
}

// As few blocks as possible, of as equal sizes as possible.
template <typename Step, typename Epilogue>
void Multiply(const PanelTask& task) {
  const int64_t blocks = (task.rows + kBlockRows - 1) / kBlockRows;
  for (int64_t panel = 0; panel < task.num_panels; ++panel) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = task.rows * block / blocks, end = task.rows * (block + 1) / blocks;
      BlockOf<Step, Epilogue>(task, panel, begin, end - begin);
    }
  }
}

}  // namespace

void LinearBf16Avx512(const PanelTask& task) { Multiply<Bf16Step, StoreSums>(task); }
void LinearF32Avx512(const PanelTask& task) { Multiply<F32Step, StoreSums>(task); }
void SwiGluBf16Avx512(const PanelTask& task) { Multiply<Bf16Step, StoreSwiGluBf16>(task); }
void SwiGluF32Avx512(const PanelTask& task) { Multiply<F32Step, StoreSwiGluF32>(task); }

}  // namespace olmoe::ops
