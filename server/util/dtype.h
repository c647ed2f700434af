#ifndef OLMOE_SERVER_UTIL_DTYPE_H_
#define OLMOE_SERVER_UTIL_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace olmoe {

// Element types of a safetensors file. Weights are kBFloat16, kFloat16 or kFloat32;
// the others are read only to be named in an error, or by tests.
enum class DType : uint8_t {
  kBool,
  kUint8,
  kInt8,
  kFloat8E4M3,
  kFloat8E5M2,
  kUint16,
  kInt16,
  kFloat16,
  kBFloat16,
  kUint32,
  kInt32,
  kFloat32,
  kUint64,
  kInt64,
  kFloat64,
};

// The name that safetensors uses: "BF16".
std::string_view DTypeName(DType dtype);
size_t DTypeBytes(DType dtype);
// Of a tensor of that shape; empty where that is beyond 64 bits. REQUIRES: no negative dimension.
std::optional<uint64_t> TensorBytes(DType dtype, const std::vector<int64_t>& shape);
// Empty for a name that safetensors does not have.
std::optional<DType> DTypeFromName(std::string_view name);

// kBFloat16, kFloat16 or kFloat32.
bool IsWeightDType(DType dtype);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_DTYPE_H_
