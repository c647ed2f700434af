// Vec: 16 floats by AVX512. The headers vec_portable.h, vec_avx2.h and vec_avx512.h have
// one interface, in which the kernels of *_impl.h are written; a kernel file includes one
// of them. All is without linkage: see CMakeLists.txt.
#ifndef OLMOE_SERVER_OPS_CPU_VEC_AVX512_H_
#define OLMOE_SERVER_OPS_CPU_VEC_AVX512_H_

#include <immintrin.h>

#include <cstdint>

namespace olmoe::ops {
namespace {

struct Vec {
  using F = __m512;
  struct Pair {
    F even, odd;
  };
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 16;  // that leave registers for operands

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set(float x) { return _mm512_set1_ps(x); }
  static F Load(const float* from) { return _mm512_loadu_ps(from); }
  static void Store(float* to, F x) { _mm512_storeu_ps(to, x); }
  // The first n lanes, n < kLanes; the others are 0.
  static F LoadFirst(const float* from, int n) { return _mm512_maskz_loadu_ps(First(n), from); }
  static void StoreFirst(float* to, int n, F x) { _mm512_mask_storeu_ps(to, First(n), x); }

  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }  // AVX2 and AVX512 alone
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c
  // The maximum or minimum of x and y; y where one of them is NaN.
  static F Max(F x, F y) { return _mm512_max_ps(x, y); }
  static F Min(F x, F y) { return _mm512_min_ps(x, y); }

  // x in lanes below n, `fill` in the others; any n.
  static F KeepFirst(F x, int n, F fill) {
    if (n >= kLanes) return x;
    return n <= 0 ? fill : _mm512_mask_mov_ps(fill, First(n), x);
  }
  static float Sum(F x) { return _mm512_reduce_add_ps(x); }
  static float Maximum(F x) { return _mm512_reduce_max_ps(x); }
  static float FirstLane(F x) { return _mm512_cvtss_f32(x); }

  // bfloat16: 16 of them, or 16 pairs.
  static F Widen(const uint16_t* from) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static Pair WidenPairs(const uint16_t* from) {
    const __m512i both = _mm512_loadu_si512(from);
    return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int{-65536})))};
  }
  // To nearest even; numbers below the normal ones become 0.
  static void Narrow(uint16_t* to, F x) {
    const __m256bh narrow = _mm512_cvtneps_pbh(x);
    __builtin_memcpy(to, &narrow, sizeof(narrow));
  }

  // x * 2^n of integral -126 <= n <= 127.
  static F Scale(F x, F n) { return _mm512_scalef_ps(x, n); }
  // The same for -128 <= n <= 128 (or NaN): below the normal numbers rounded once, above them
  // infinity. AVX2 and AVX512 alone.
  static F ScaleGradually(F x, F n) { return _mm512_scalef_ps(x, n); }
  static F RoundToInteger(F x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // 0 where x < limit, else value; NaN is not below.
  static F ZeroBelow(F x, F limit, F value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), value);
  }

 private:
  static __mmask16 First(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
};

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_VEC_AVX512_H_
