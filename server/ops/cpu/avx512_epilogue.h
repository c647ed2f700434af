// What is done with the sums of a row and a panel while they are in registers, in AVX512:
// for the files that are compiled for it. Everything here has no linkage (see
// CMakeLists.txt), so each of them has its own.
#ifndef OLMOE_SERVER_OPS_CPU_AVX512_EPILOGUE_H_
#define OLMOE_SERVER_OPS_CPU_AVX512_EPILOGUE_H_

#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/panel_task.h"
#include "server/ops/cpu/vec_avx512.h"

#include "server/ops/cpu/swiglu_impl.h"

namespace olmoe::ops {
namespace {

struct StoreSums {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row, __m512 low, __m512 high) {
    const int64_t begin = panel * kPanelColumns;
    const int64_t left = task.columns - begin;
    const __mmask32 columns = left >= 32 ? 0xffffffffu : (1u << left) - 1;
    const __mmask16 of_low = static_cast<__mmask16>(columns);
    const __mmask16 of_high = static_cast<__mmask16>(columns >> 16);
    if (task.bias != nullptr) {
      low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(of_low, task.bias + begin));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(of_high, task.bias + begin + 16));
    }
    float* out = static_cast<float*>(task.out) + row * task.out_stride + begin;
    _mm512_mask_storeu_ps(out, of_low, low);
    _mm512_mask_storeu_ps(out + 16, of_high, high);
  }
};

struct StoreSwiGluBf16 {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row, __m512 gate, __m512 up) {
    uint16_t* out = static_cast<uint16_t*>(task.out) + row * task.out_stride + panel * kGateColumns;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(SwiGluOf(gate, up))));
  }
};

struct StoreSwiGluF32 {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row, __m512 gate, __m512 up) {
    float* out = static_cast<float*>(task.out) + row * task.out_stride + panel * kGateColumns;
    _mm512_storeu_ps(out, SwiGluOf(gate, up));
  }
};

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_AVX512_EPILOGUE_H_
