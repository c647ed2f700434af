// The panel kernels in plain C++, for a CPU that there are no others for. The compiler
// makes vector code of the loops over the columns.
#include <cmath>
#include <cstring>

#include "server/ops/cpu/panel_functions.h"

namespace olmoe::ops {
namespace {

// Rows that a weight is widened for at once.
constexpr int64_t kBlockRows = 4;

using Sums = float[kBlockRows][kPanelColumns];

float Widen(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

uint16_t Narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (value != value) return static_cast<uint16_t>((bits >> 16) | 0x40);  // stays a NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void SumPanel(const uint16_t* x, int64_t stride, int64_t rows, const uint16_t* panel,
              int64_t depth, Sums* sums) {
  constexpr int64_t kTile = kTileBytes / 2;
  for (int64_t k = 0; k < depth; k += 2) {
    // Of the pair k, k + 1 in both tiles.
    const uint16_t* pairs = panel + k / kDepthUnit * 2 * kTile + k % kDepthUnit / 2 * kDepthUnit;
    float first[kPanelColumns], second[kPanelColumns];
    for (int64_t column = 0; column < kPanelColumns / 2; ++column) {
      for (int64_t half = 0; half < 2; ++half) {
        first[half * 16 + column] = Widen(pairs[half * kTile + 2 * column]);
        second[half * 16 + column] = Widen(pairs[half * kTile + 2 * column + 1]);
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      const float a = Widen(x[row * stride + k]), b = Widen(x[row * stride + k + 1]);
      float* sum = (*sums)[row];
      for (int64_t column = 0; column < kPanelColumns; ++column) {
        sum[column] += a * first[column];
        sum[column] += b * second[column];
      }
    }
  }
}

void SumPanel(const float* x, int64_t stride, int64_t rows, const float* panel, int64_t depth,
              Sums* sums) {
  for (int64_t k = 0; k < depth; ++k, panel += kPanelColumns) {
    for (int64_t row = 0; row < rows; ++row) {
      const float a = x[row * stride + k];
      float* sum = (*sums)[row];
      for (int64_t column = 0; column < kPanelColumns; ++column) sum[column] += a * panel[column];
    }
  }
}

// use(panel, row, sums [32]) for every row of every panel.
template <typename Element, typename Use>
void ForEachSum(const PanelTask& task, const Use& use) {
  const Element* panel = static_cast<const Element*>(task.panels);
  for (int64_t p = 0; p < task.num_panels; ++p, panel += task.depth * kPanelColumns) {
    for (int64_t first = 0; first < task.rows; first += kBlockRows) {
      const int64_t rows = task.rows - first < kBlockRows ? task.rows - first : kBlockRows;
      Sums sums = {};
      SumPanel(static_cast<const Element*>(task.x) + first * task.x_stride, task.x_stride, rows,
               panel, task.depth, &sums);
      for (int64_t row = 0; row < rows; ++row) use(p, first + row, sums[row]);
    }
  }
}

template <typename Element>
void Linear(const PanelTask& task) {
  ForEachSum<Element>(task, [&](int64_t panel, int64_t row, const float* sums) {
    const int64_t begin = panel * kPanelColumns;
    float* out = static_cast<float*>(task.out) + row * task.out_stride + begin;
    for (int64_t i = 0; i < kPanelColumns && begin + i < task.columns; ++i) {
      out[i] = task.bias == nullptr ? sums[i] : sums[i] + task.bias[begin + i];
    }
  });
}

void Put(float value, float* to) { *to = value; }
void Put(float value, uint16_t* to) { *to = Narrow(value); }

template <typename Element>
void SwiGlu(const PanelTask& task) {
  ForEachSum<Element>(task, [&](int64_t panel, int64_t row, const float* sums) {
    Element* out = static_cast<Element*>(task.out) + row * task.out_stride + panel * kGateColumns;
    for (int64_t i = 0; i < kGateColumns; ++i) {
      const float gate = sums[i], up = sums[kGateColumns + i];
      Put(gate / (1.0f + std::exp(-gate)) * up, out + i);
    }
  });
}

}  // namespace

void LinearBf16Portable(const PanelTask& task) { Linear<uint16_t>(task); }
void LinearF32Portable(const PanelTask& task) { Linear<float>(task); }
void SwiGluBf16Portable(const PanelTask& task) { SwiGlu<uint16_t>(task); }
void SwiGluF32Portable(const PanelTask& task) { SwiGlu<float>(task); }

}  // namespace olmoe::ops
