#include "server/model/convert.h"

#include <cstring>

#include "glog/logging.h"

namespace olmoe::model {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is little-endian and is used as it lies in the file");

template <typename From, typename To, typename Function>
void ForEach(const void* source, void* target, size_t count, Function convert) {
  const From* from = static_cast<const From*>(source);
  To* to = static_cast<To*>(target);
  for (size_t i = 0; i < count; ++i) to[i] = convert(from[i]);
}

void ToFloat32(const void* source, DType from, void* target, size_t count) {
  if (from == DType::kBFloat16) {
    ForEach<uint16_t, float>(source, target, count, FloatFromBf16);
  } else {
    ForEach<uint16_t, float>(source, target, count, FloatFromF16);
  }
}

void ToBfloat16(const void* source, DType from, void* target, size_t count) {
  if (from == DType::kFloat32) {
    ForEach<float, uint16_t>(source, target, count, Bf16FromFloat);
  } else {
    ForEach<uint16_t, uint16_t>(source, target, count,
                                [](uint16_t bits) { return Bf16FromFloat(FloatFromF16(bits)); });
  }
}

}  // namespace

void ConvertElements(const void* source, DType from, void* target, DType to, size_t count) {
  CHECK(IsWeightDType(from)) << DTypeName(from);
  CHECK(to == DType::kFloat32 || to == DType::kBFloat16) << DTypeName(to);
  if (from == to) {
    std::memcpy(target, source, count * DTypeBytes(from));
  } else if (to == DType::kFloat32) {
    ToFloat32(source, from, target, count);
  } else {
    ToBfloat16(source, from, target, count);
  }
}

}  // namespace olmoe::model
