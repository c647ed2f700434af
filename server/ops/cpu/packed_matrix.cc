#include "server/ops/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Pairs of inputs are moved as one element of 32 bits, as float32 elements are. A cache
// line of every row at a time, so that each is read from memory once.
constexpr int64_t kElementsPerLine = 16;

// to[i * 32 + c] = from[c * stride + i], for i < elements and c < columns.
void Transpose(const std::byte* from, int64_t stride_bytes, int64_t columns, int64_t elements,
               uint32_t* to) {
  for (int64_t first = 0; first < elements; first += kElementsPerLine) {
    const int64_t end = std::min(elements, first + kElementsPerLine);
    for (int64_t column = 0; column < columns; ++column) {
      const std::byte* row = from + column * stride_bytes;
      for (int64_t i = first; i < end; ++i) {
        std::memcpy(to + i * kPanelColumns + column, row + 4 * i, 4);
      }
    }
  }
}

float Widen(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

PackedMatrix::PackedMatrix(int64_t out, int64_t in, Precision precision)
    : out_(out),
      in_(in),
      precision_(precision),
      depth_(precision == Precision::kFloat32 ? in : RoundUp(in, kDepthUnit)),
      num_panels_(RoundUp(out, kPanelColumns) / kPanelColumns),
      panel_bytes_(depth_ * kPanelColumns * BytesPerElement(precision)),
      memory_(static_cast<size_t>(num_panels_ * panel_bytes_)) {}

void PackedMatrix::PackPanel(const void* rows, const Place& place, int64_t panel) {
  const int64_t begin = std::max(place.first_row, panel * place.group);
  const int64_t end = std::min(place.first_row + place.number, (panel + 1) * place.group);
  const int64_t stride_bytes = in_ * BytesPerElement(precision_);
  const std::byte* from =
      static_cast<const std::byte*>(rows) + (begin - place.first_row) * stride_bytes;
  std::byte* memory = memory_.data() + (place.first_panel + panel) * panel_bytes_;
  uint32_t* to = reinterpret_cast<uint32_t*>(memory) + place.offset + begin % place.group;
  const int64_t whole = stride_bytes / 4;
  Transpose(from, stride_bytes, end - begin, whole, to);
  if (stride_bytes % 4 == 0) return;
  for (int64_t column = 0; column < end - begin; ++column) {  // the last input has no partner
    std::memcpy(to + whole * kPanelColumns + column, from + column * stride_bytes + 4 * whole, 2);
  }
}

void PackedMatrix::UnpackRow(int64_t row, float* to) const {
  const uint32_t* from = reinterpret_cast<const uint32_t*>(panel(row / kPanelColumns)) +
                         row % kPanelColumns;
  if (precision_ == Precision::kFloat32) {
    for (int64_t i = 0; i < in_; ++i) to[i] = Widen(from[i * kPanelColumns]);
    return;
  }
  for (int64_t i = 0; i < in_; ++i) {  // the first of a pair is the low half
    const uint32_t pair = from[i / 2 * kPanelColumns];
    to[i] = Widen(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  }
}

}  // namespace olmoe::ops
