#ifndef OLMOE_SERVER_UTIL_BFLOAT16_H_
#define OLMOE_SERVER_UTIL_BFLOAT16_H_

#include <bit>
#include <cstdint>

namespace olmoe {

inline float FloatFromBf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Rounds to nearest, ties to even; beyond the largest bf16 to infinity. A NaN keeps
// its sign and upper payload and becomes quiet.
inline uint16_t Bf16FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return static_cast<uint16_t>((is_nan ? bits | 0x400000 : rounded) >> 16);
}

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_BFLOAT16_H_
