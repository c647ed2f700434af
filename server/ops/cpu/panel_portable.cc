// The panel kernels in plain C++, for a CPU that there are no others for. The compiler
// makes vector code of the loops over the columns.
#include <bit>
#include <cmath>
#include <cstring>

#include "server/ops/cpu/panel_functions.h"

namespace olmoe::ops {
namespace {

// Rows that a weight is widened for at once.
constexpr int64_t kBlockRows = 4;

using Sums = float[kBlockRows][kPanelColumns];

// The first input of a pair is the low half of its 32 bits.
float FirstOf(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float SecondOf(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

uint32_t PairAt(const uint16_t* x) {
  uint32_t pair;
  std::memcpy(&pair, x, sizeof(pair));
  return pair;
}

uint16_t Narrow(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>((bits >> 16) | 0x40);  // stays a NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// sum[column] += a * first + b * second, for the pairs of 16 columns.
void AddLine(const uint16_t* line, uint32_t x, float* sum) {
  constexpr int64_t kColumns = kPanelColumns / 2;
  uint32_t pairs[kColumns];
  std::memcpy(pairs, line, sizeof(pairs));
  const float a = FirstOf(x), b = SecondOf(x);
  for (int64_t column = 0; column < kColumns; ++column) {
    sum[column] = sum[column] + a * FirstOf(pairs[column]) + b * SecondOf(pairs[column]);
  }
}

void SumPanel(const uint16_t* x, int64_t stride, int64_t rows, const uint16_t* panel, int64_t depth,
              Sums* sums) {
  constexpr int64_t kTile = kTileBytes / 2;
  for (int64_t k = 0; k < depth; k += 2) {
    const uint16_t* line = panel + k / kDepthUnit * 2 * kTile + k % kDepthUnit / 2 * kDepthUnit;
    for (int64_t row = 0; row < rows; ++row) {
      const uint32_t pair = PairAt(x + row * stride + k);
      AddLine(line, pair, (*sums)[row]);
      AddLine(line + kTile, pair, (*sums)[row] + kPanelColumns / 2);
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
