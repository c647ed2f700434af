#ifndef OLMOE_SERVER_MODEL_FAST_EXP_H_
#define OLMOE_SERVER_MODEL_FAST_EXP_H_

#include <bit>
#include <cstdint>

namespace olmoe::model {

// e^x for x <= 0: 2^n e^r with |r| <= ln(2)/2 and a polynomial for e^r (Cephes expf),
// without branches or tables. 0 below the range of normal numbers.
inline float ExpOfNonPositive(float x) {
  constexpr float kSmallest = -87.0f;
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < kSmallest ? kSmallest : x;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float fraction = (p * r * r + r) + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float power = std::bit_cast<float>((exponent + 127) << 23);
  return x < kSmallest ? 0.0f : fraction * power;
}

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_FAST_EXP_H_
