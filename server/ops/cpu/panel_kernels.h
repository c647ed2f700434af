// Products with packed weights: y = x W^T for a few rows of x or hundreds.
//
// A weight W [out, in] is cut into panels of 32 output columns, one after the other in
// memory. A bfloat16 panel is [depth / 32][2][16][16][2]: for every 32 inputs two tiles,
// of 16 columns each; a tile has a line of 64 bytes for every pair of inputs, the two
// weights of each of its columns. depth is `in` rounded up to 32, filled with zeros. For
// W of 3 columns and in = 4, with columns a, b, c and the rest zero:
//
//     a0 a1  b0 b1  c0 c1  0 0 ...    pair 0 of columns 0 .. 15
//     a2 a3  b2 b3  c2 c3  0 0 ...    pair 1
//     0 ...                           14 pairs of padding, then columns 16 .. 31
//
// These are the bytes that every instruction set wants. A tile is the right operand of
// TDPBF16PS; a line is that of VDPBF16PS, which adds both products of a pair to the sum
// of its column; and AVX2 makes two float32 vectors of half a line by a shift and a mask.
// A float32 panel is [depth][32] with depth = in.
//
// A panel is read from its first byte to its last, and panels follow each other, so
// weights stream from memory once a step whatever is computed of them. With few rows
// that is all that counts: the tiles lie as they are loaded so that the hardware's
// prefetcher sees one ascending stream (lines of both tiles in turn cost AMX a tenth of
// the bandwidth), and software prefetches 1 to 2 KiB ahead, which carries the stream over
// the ends of 4 KiB pages; further ahead it competes with the hardware and costs up to a
// quarter. With many rows the panel is read from the cache for each block of rows: 12
// rows and 32 columns are 24 accumulators of AVX512, 32 rows and 32 columns four of the
// eight tiles.
//
// One order of summation: inputs 0, 1, 2, ... one after the other into one accumulator
// for each (row, column), whatever the number of rows. How rows are cut into blocks
// never shows, so a row has the same bits alone and among 512, at any place, from any
// thread. Instruction sets differ in how they round within a pair: one of them serves
// the whole process. panel_kernels_test.cc tests all of this.
#ifndef OLMOE_SERVER_OPS_CPU_PANEL_KERNELS_H_
#define OLMOE_SERVER_OPS_CPU_PANEL_KERNELS_H_

#include <cstdint>

#include "server/ops/cpu/isa.h"
#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {

// Kernels of one instruction set, each for one thread. Immutable.
struct PanelKernels {
  using Product = void (*)(const PanelTask& task);
  // out [rows, columns] float32 = x W^T + bias; x and panels as the name says.
  Product linear_bf16 = nullptr;
  Product linear_f32 = nullptr;
  // Panels of 16 gate columns and the same 16 columns of up: out [rows, 16 * panels] =
  // silu(x G^T) * (x U^T), in the precision of x. No bias; `columns` is not looked at.
  Product swiglu_bf16 = nullptr;
  Product swiglu_f32 = nullptr;
  // Gives up the thread's tiles, if other kernels have left any; null: there are none.
  void (*release_tiles)() = nullptr;
};

// `isa` must be supported.
const PanelKernels& PanelKernelsOf(CpuIsa isa);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_PANEL_KERNELS_H_
