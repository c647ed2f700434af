// The bfloat16 panel kernels in AMX. Blocks of up to 32 rows and 32 columns: four tiles of
// sums, two of x, two of weights; every tile that is loaded is used twice. Tiles of x
// have as many rows as there are, so one row costs little and nothing beyond x is read.
//
// The instructions are written out: GCC 12 removes the stores to the configuration that
// _tile_loadconfig reads, and its _tile_loadd does not say that it reads memory.
#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/avx512_epilogue.h"
#include "server/ops/cpu/panel_functions.h"

namespace olmoe::ops {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kPairBytes = 128;                     // of a panel
constexpr int64_t kStepBytes = kTileRows * kPairBytes;  // 32 inputs of 32 columns
constexpr int64_t kPrefetchBytes = 8192;

// Tiles: 0 and 1 sums of the first 16 rows, 2 and 3 of the others, by half of the panel;
// 4 and 5 x of the first rows and of the others; 6 and 7 the halves of the panel.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// The tile registers of this thread, for `first` rows in tiles 0, 1, 4 and `second` in
// 2, 3, 5. Also sets all tiles to zero.
inline void Configure(int64_t first, int64_t second) {
  const uint8_t a = static_cast<uint8_t>(first), b = static_cast<uint8_t>(second > 0 ? second : 1);
  const uint8_t rows[8] = {a, a, b, b, a, b, kTileRows, kTileRows};
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.rows[tile] = rows[tile];
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

inline void Release() { __asm__ volatile("tilerelease" : : : "memory"); }

template <int kTile>
inline void Zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

template <int kTile>
inline void Load(const void* from, int64_t stride_bytes) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0"
                   :
                   : "i"(kTile), "r"(from), "r"(stride_bytes)
                   : "memory");
}

template <int kTile>
inline void Store(void* to, int64_t stride_bytes) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)"
                   :
                   : "i"(kTile), "r"(to), "r"(stride_bytes)
                   : "memory");
}

// sums += x * weights
template <int kSums, int kX, int kWeights>
inline void Multiply() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                   :
                   : "i"(kSums), "i"(kX), "i"(kWeights));
}

inline void Prefetch(const char* weights) {
#pragma GCC unroll 32
  for (int64_t line = 0; line < kStepBytes; line += 64) {
    _mm_prefetch(weights + kPrefetchBytes + line, _MM_HINT_T0);
  }
}

// The sums of a block of rows go to `sums` [32][32]. kTwo: there are more than 16 rows.
template <bool kTwo>
void SumBlock(const uint16_t* x, int64_t x_stride, const char* weights, int64_t depth,
              bool from_memory, float* sums) {
  const int64_t stride_bytes = x_stride * 2;
  const uint16_t* second = x + kTileRows * x_stride;
  Zero<0>();
  Zero<1>();
  if constexpr (kTwo) {
    Zero<2>();
    Zero<3>();
  }
  for (int64_t k = 0; k < depth; k += kDepthUnit, weights += kStepBytes) {
    if (from_memory) Prefetch(weights);
    Load<6>(weights, kPairBytes);
    Load<4>(x + k, stride_bytes);
    Multiply<0, 4, 6>();
    Load<7>(weights + 64, kPairBytes);
    Multiply<1, 4, 7>();
    if constexpr (kTwo) {
      Load<5>(second + k, stride_bytes);
      Multiply<2, 5, 6>();
      Multiply<3, 5, 7>();
    }
  }
  constexpr int64_t kSumsBytes = kPanelColumns * 4;
  Store<0>(sums, kSumsBytes);
  Store<1>(sums + 16, kSumsBytes);
  if constexpr (kTwo) {
    Store<2>(sums + kTileRows * kPanelColumns, kSumsBytes);
    Store<3>(sums + kTileRows * kPanelColumns + 16, kSumsBytes);
  }
}

template <typename Epilogue>
void MultiplyPanels(const PanelTask& task) {
  alignas(64) float sums[2 * kTileRows * kPanelColumns];
  int64_t configured = 0;  // rows
  const uint16_t* x = static_cast<const uint16_t*>(task.x);
  const char* weights = static_cast<const char*>(task.panels);
  for (int64_t panel = 0; panel < task.num_panels; ++panel) {
    for (int64_t first = 0; first < task.rows; first += 2 * kTileRows) {
      const int64_t left = task.rows - first;
      const int64_t rows = left < 2 * kTileRows ? left : 2 * kTileRows;
      const bool two = rows > kTileRows;
      if (rows != configured) {
        Configure(two ? kTileRows : rows, two ? rows - kTileRows : 0);
        configured = rows;
      }
      (two ? SumBlock<true> : SumBlock<false>)(x + first * task.x_stride, task.x_stride,
                                               weights, task.depth, first == 0, sums);
      for (int64_t row = 0; row < rows; ++row) {
        const float* of_row = sums + row * kPanelColumns;
        Epilogue::Apply(task, panel, first + row, _mm512_load_ps(of_row),
                        _mm512_load_ps(of_row + 16));
      }
    }
    weights += task.depth * 2 * kPanelColumns;
  }
  Release();  // no thread sleeps with tiles, whose state would have to be saved
}

}  // namespace

void LinearBf16Amx(const PanelTask& task) { MultiplyPanels<StoreSums>(task); }
void SwiGluBf16Amx(const PanelTask& task) { MultiplyPanels<StoreSwiGluBf16>(task); }
void ReleaseTilesAmx() { Release(); }

}  // namespace olmoe::ops
