#include "server/ops/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Pairs of bfloat16 inputs are moved as one element of 32 bits, as float32 inputs are.
// Where in a panel element `i` of a column is:
int64_t IndexOf(int64_t i, int64_t column, Precision precision) {
  if (precision == Precision::kFloat32) return i * kPanelColumns + column;
  const int64_t tile = i / 16 * 2 + column / 16;
  return (tile * 16 + i % 16) * 16 + column % 16;
}

// Elements first .. of a column, at most a cache line, so that a whole tile is filled
// from one line of each row.
constexpr int64_t kElementsOfLine = 16;

void PackLine(const std::byte* row, int64_t first, int64_t elements, int64_t column,
              Precision precision, uint32_t* panel) {
  const int64_t number = std::min(kElementsOfLine, elements - first);
  uint32_t* to = panel + IndexOf(first, column, precision);
  const int64_t step = IndexOf(1, 0, precision);
  for (int64_t i = 0; i < number; ++i) std::memcpy(to + i * step, row + 4 * (first + i), 4);
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
  const int64_t first_column = place.offset + begin % place.group;
  uint32_t* to =
      reinterpret_cast<uint32_t*>(memory_.data() + (place.first_panel + panel) * panel_bytes_);
  const int64_t whole = stride_bytes / 4;
  for (int64_t first = 0; first < whole; first += kElementsOfLine) {
    for (int64_t i = 0; i < end - begin; ++i) {
      PackLine(from + i * stride_bytes, first, whole, first_column + i, precision_, to);
    }
  }
  if (stride_bytes % 4 == 0) return;
  for (int64_t i = 0; i < end - begin; ++i) {  // the last input has no partner
    std::memcpy(to + IndexOf(whole, first_column + i, precision_),
                from + i * stride_bytes + 4 * whole, 2);
  }
}

void PackedMatrix::UnpackRow(int64_t row, float* to) const {
  const uint32_t* from = reinterpret_cast<const uint32_t*>(panel(row / kPanelColumns));
  const int64_t column = row % kPanelColumns;
  if (precision_ == Precision::kFloat32) {
    for (int64_t i = 0; i < in_; ++i) to[i] = Widen(from[IndexOf(i, column, precision_)]);
    return;
  }
  for (int64_t i = 0; i < in_; ++i) {  // the first of a pair is the low half
    const uint32_t pair = from[IndexOf(i / 2, column, precision_)];
    to[i] = Widen(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  }
}

}  // namespace olmoe::ops
