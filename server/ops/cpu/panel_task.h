// What the kernels of all instruction sets are called with. Included by files that are
// compiled for one: nothing but plain data.
#ifndef OLMOE_SERVER_OPS_CPU_PANEL_TASK_H_
#define OLMOE_SERVER_OPS_CPU_PANEL_TASK_H_

#include <cstdint>

namespace olmoe::ops {

constexpr int64_t kPanelColumns = 32;
constexpr int64_t kGateColumns = 16;  // of each of gate and up in a panel of both
// bfloat16 only: inputs of a tile, and bytes of the two tiles that they fill in a panel.
constexpr int64_t kDepthUnit = 32;
constexpr int64_t kTileBytes = 1024;

// Some panels of a weight, for some rows of x. Panels are read in whole; of x and out
// nothing but rows x depth and rows x columns is touched.
struct PanelTask {
  const void* x = nullptr;     // [rows, depth], zeros from `in` on
  int64_t x_stride = 0;        // elements from row to row
  int64_t rows = 0;
  const void* panels = nullptr;  // the first of them
  int64_t num_panels = 0;
  int64_t depth = 0;
  void* out = nullptr;         // [rows, columns], beginning with the first panel's columns
  int64_t out_stride = 0;      // elements from row to row
  int64_t columns = 0;         // at most 32 * num_panels, and more than 32 * (num_panels - 1)
  const float* bias = nullptr;  // [columns]; null: none
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_PANEL_TASK_H_
