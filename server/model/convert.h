// Conversion between the element types of weights.
#ifndef OLMOE_SERVER_MODEL_CONVERT_H_
#define OLMOE_SERVER_MODEL_CONVERT_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "server/util/bfloat16.h"
#include "server/util/dtype.h"

namespace olmoe::model {

// Exact: every half, subnormals too, is a float. NaN keeps sign and payload.
inline float FloatFromF16(uint16_t bits) {
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  // The biases of the exponents are 127 and 15. A subnormal is read as 2^-14 + itself,
  // which has no subnormal float on the way (these may be flushed to zero).
  const uint32_t normal = magnitude + ((127u - 15) << 23);
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude + ((127u - 14) << 23)) - 0x1p-14f);
  const uint32_t finite = magnitude < (1u << 23) ? subnormal : normal;
  const bool is_inf_or_nan = magnitude >= (31u << 23);
  const uint32_t result = is_inf_or_nan ? magnitude | 0x7f800000 : finite;
  return std::bit_cast<float>(result | static_cast<uint32_t>(bits & 0x8000) << 16);
}

// Converts `count` elements. `from` is a weight dtype, `to` is kFloat32 or kBFloat16;
// `source` and `target` do not overlap and are aligned to their elements.
void ConvertElements(const void* source, DType from, void* target, DType to, size_t count);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CONVERT_H_
