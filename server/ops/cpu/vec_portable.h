// Vec: 4 floats by the vector extension of GCC and clang, which every CPU has; see
// vec_avx512.h for what the functions mean.
#ifndef OLMOE_SERVER_OPS_CPU_VEC_PORTABLE_H_
#define OLMOE_SERVER_OPS_CPU_VEC_PORTABLE_H_

#include <cstddef>
#include <cstdint>

namespace olmoe::ops {
namespace {

struct Vec {
  using F = float __attribute__((vector_size(16)));
  using I = int32_t __attribute__((vector_size(16)));
  using U = uint32_t __attribute__((vector_size(16)));
  struct Pair {
    F even, odd;
  };
  static constexpr int kLanes = 4;
  static constexpr int kAccumulators = 8;

  static F Zero() { return F{}; }
  static F Set(float x) { return F{x, x, x, x}; }
  static F Load(const float* from) { return LoadFirst(from, kLanes); }
  static void Store(float* to, F x) { StoreFirst(to, kLanes, x); }
  static F LoadFirst(const float* from, int n) {
    F x = {};
    __builtin_memcpy(&x, from, static_cast<size_t>(n) * sizeof(float));
    return x;
  }
  static void StoreFirst(float* to, int n, F x) {
    __builtin_memcpy(to, &x, static_cast<size_t>(n) * sizeof(float));
  }

  static F Add(F a, F b) { return a + b; }
  static F Sub(F a, F b) { return a - b; }
  static F Mul(F a, F b) { return a * b; }
  static F Fma(F a, F b, F c) { return a * b + c; }  // rounded twice
  static F Max(F x, F y) { return Select(x > y, x, y); }
  static F Min(F x, F y) { return Select(x < y, x, y); }

  static F KeepFirst(F x, int n, F fill) { return Select(I{0, 1, 2, 3} < I{n, n, n, n}, x, fill); }
  static float Sum(F x) { return (x[0] + x[1]) + (x[2] + x[3]); }
  static float Maximum(F x) {
    const float a = x[0] > x[1] ? x[0] : x[1], b = x[2] > x[3] ? x[2] : x[3];
    return a > b ? a : b;
  }
  static float FirstLane(F x) { return x[0]; }

  static F Widen(const uint16_t* from) {
    return AsFloats(U{from[0], from[1], from[2], from[3]} << 16);
  }
  static Pair WidenPairs(const uint16_t* from) {
    return {AsFloats(U{from[0], from[2], from[4], from[6]} << 16),
            AsFloats(U{from[1], from[3], from[5], from[7]} << 16)};
  }
  static void Narrow(uint16_t* to, F x) {
    const U bits = __builtin_bit_cast(U, x);
    const U rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const U quiet = (bits >> 16) | 0x40;  // a NaN, which the sum could carry over
    for (int i = 0; i < kLanes; ++i) {
      to[i] = static_cast<uint16_t>(x[i] == x[i] ? rounded[i] : quiet[i]);
    }
  }

  static F Scale(F x, F n) {
    I power = {};
    for (int i = 0; i < kLanes; ++i) power[i] = n[i] == n[i] ? static_cast<int32_t>(n[i]) : 0;
    return x * AsFloats(__builtin_bit_cast(U, power + 127) << 23);
  }
  static F RoundToInteger(F x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    return (x + kRound) - kRound;
  }
  static F ZeroBelow(F x, F limit, F value) { return Select(x < limit, F{}, value); }

 private:
  static F AsFloats(U bits) { return __builtin_bit_cast(F, bits); }
  static F Select(I mask, F yes, F no) {
    return __builtin_bit_cast(
        F, (__builtin_bit_cast(I, yes) & mask) | (__builtin_bit_cast(I, no) & ~mask));
  }
};

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_VEC_PORTABLE_H_
