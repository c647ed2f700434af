#ifndef OLMOE_SERVER_OPS_CPU_PACKED_MATRIX_H_
#define OLMOE_SERVER_OPS_CPU_PACKED_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "server/ops/cpu/huge_buffer.h"
#include "server/ops/ops.h"

namespace olmoe::ops {

// A weight [out, in] in panels: panel_kernels.h says how the elements lie. Zero until
// rows are packed, and the padding for ever. Rows of one block may be packed by several
// threads, each other panels; otherwise thread-compatible, immutable once all rows are
// there.
class PackedMatrix {
 public:
  PackedMatrix(int64_t out, int64_t in, Precision precision);

  // Where a block of rows goes. Its row i is row r = first_row + i of what has its panels
  // from first_panel on, and lies in the r / group'th of them, at column offset + r % group.
  struct Place {
    int64_t first_panel = 0;
    int64_t first_row = 0;
    int64_t number = 0;  // of rows
    int64_t group = 0;
    int64_t offset = 0;

    int64_t begin() const { return first_row / group; }  // panels that it touches, from
    int64_t end() const { return (first_row + number + group - 1) / group; }  // first_panel on
  };

  // Packs what of the block `rows` [place.number, in], row-major in the precision of the
  // matrix, goes to one panel: place.begin() <= panel < place.end().
  void PackPanel(const void* rows, const Place& place, int64_t panel);

  // Element (row, i) of the weight for 0 <= i < in, as float32: how an embedding is read.
  void UnpackRow(int64_t row, float* to) const;

  Precision precision() const { return precision_; }
  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  int64_t depth() const { return depth_; }
  int64_t num_panels() const { return num_panels_; }
  int64_t panel_bytes() const { return panel_bytes_; }
  const std::byte* panel(int64_t index) const { return memory_.data() + index * panel_bytes_; }

 private:
  const int64_t out_, in_;
  const Precision precision_;
  const int64_t depth_, num_panels_, panel_bytes_;
  const HugeBuffer memory_;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_PACKED_MATRIX_H_
