// e^x for x <= 0 without branches or tables, so that compilers make vector instructions of loops
// over it: e^x = 2^n e^r with |r| <= ln(2)/2 and a polynomial for e^r (Cephes expf), within 1 ulp.
// A fixed sequence of IEEE operations: another CPU or C library gives the same bits.
#ifndef OLMOE_SERVER_UTIL_FAST_EXP_H_
#define OLMOE_SERVER_UTIL_FAST_EXP_H_

#include <bit>
#include <cstdint>

namespace olmoe {
namespace exp_internal {

struct Reduced {
  int32_t n;
  float r;
  float p;  // e^r = 1 + r + p r^2
};

[[gnu::always_inline]] inline Reduced Reduce(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return {std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound), r, p};
}

// 2^n for -126 <= n <= 127.
[[gnu::always_inline]] inline float PowerOfTwo(int32_t n) {
  return std::bit_cast<float>((n + 127) << 23);
}

}  // namespace exp_internal

// The two functions below round their last sum in different ways. Replies depend on the bits of
// both, so neither can take the other's.

// 0 where the result is not a normal number: the numerators of probabilities, which are added.
[[gnu::always_inline]] inline float ExpOfNonPositive(float x) {
  constexpr float kSmallest = -87.0f;
  const auto [n, r, p] = exp_internal::Reduce(x < kSmallest ? kSmallest : x);
  const float fraction = (p * r * r + r) + 1.0f;
  return x < kSmallest ? 0.0f : fraction * exp_internal::PowerOfTwo(n);
}

// For -110 <= x, below which the result is 0 in float32, denormal numbers included.
[[gnu::always_inline]] inline float ExpWithDenormals(float x) {
  const auto [n, r, p] = exp_internal::Reduce(x);
  const float fraction = p * (r * r) + r + 1.0f;
  // 2^n in two factors, because alone it is no normal number where the result is denormal.
  const int32_t half = n >> 1;
  return fraction * exp_internal::PowerOfTwo(half) * exp_internal::PowerOfTwo(n - half);
}

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_FAST_EXP_H_
