// What is done with the sums of a row and a panel while they are in registers, in AVX512:
// for the files that are compiled for it. Everything here has no linkage (see
// CMakeLists.txt), so each of them has its own.
#ifndef OLMOE_SERVER_OPS_CPU_AVX512_EPILOGUE_H_
#define OLMOE_SERVER_OPS_CPU_AVX512_EPILOGUE_H_

#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {
namespace {

// e^x within 2 ulp: 2^n e^r with |r| <= ln(2)/2, and a polynomial for e^r (Cephes expf).
// Infinity and 0 beyond the range of float32; NaN stays NaN.
inline __m512 Exp(__m512 x) {
  const __m512 limited = _mm512_min_ps(_mm512_set1_ps(128.0f),
                                       _mm512_max_ps(_mm512_set1_ps(-128.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(limited, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), limited);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  const __m512 fraction =
      _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r), _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(fraction, n);
}

inline __m512 SwiGluOf(__m512 gate, __m512 up) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 decay = Exp(_mm512_sub_ps(_mm512_setzero_ps(), gate));
  return _mm512_mul_ps(_mm512_div_ps(gate, _mm512_add_ps(one, decay)), up);
}

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
    uint16_t* out =
        static_cast<uint16_t*>(task.out) + row * task.out_stride + panel * kGateColumns;
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
