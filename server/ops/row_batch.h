#ifndef OLMOE_SERVER_OPS_ROW_BATCH_H_
#define OLMOE_SERVER_OPS_ROW_BATCH_H_

#include <cstdint>
#include <span>
#include <vector>

namespace olmoe::ops {

// Consecutive rows of a step that belong to one sequence.
struct SequenceRows {
  int first_row = 0;
  int num_rows = 0;
  int first_position = 0;          // of the first of these rows
  std::span<const int32_t> pages;  // of positions 0 .. first_position + num_rows - 1
};

// The rows of one step as the operations see them. Valid while the step runs.
struct RowBatch {
  std::vector<int32_t> tokens;     // [rows]
  std::vector<int32_t> positions;  // [rows]
  std::vector<SequenceRows> sequences;

  int num_rows() const { return static_cast<int>(tokens.size()); }
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ROW_BATCH_H_
