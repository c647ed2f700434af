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
constexpr int64_t kLineBytes = 64;  // of a tile
constexpr int64_t kPrefetchBytes = 1024;
// Rows of x that stay in the second-level cache while the panels of a task go by.
constexpr int64_t kCachedRows = 256;

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

inline void PrefetchTile(const char* weights) {
#pragma GCC unroll 16
  for (int64_t line = 0; line < kTileBytes; line += kLineBytes) {
    _mm_prefetch(weights + kPrefetchBytes + line, _MM_HINT_T0);
  }
}

// What to bring into the second-level cache meanwhile: the next panel, a part of it in each
// block of rows. With more rows than kTwo has, the memory would otherwise idle while all
// blocks but the first take the panel from the cache.
struct Ahead {
  const char* weights = nullptr;
  int64_t step_bytes = 0;  // for every two tiles that are read
};

// The sums of a block of rows go to `sums` [32][32]. kTwo: there are more than 16 rows.
// kFromMemory: nobody has read the panel yet.
template <bool kTwo, bool kFromMemory>
void SumBlock(const uint16_t* x, int64_t x_stride, const char* weights, int64_t depth,
              Ahead ahead, float* sums) {
  const int64_t stride_bytes = x_stride * 2;
  const uint16_t* second = x + kTileRows * x_stride;
  Zero<0>();
  Zero<1>();
  if constexpr (kTwo) {
    Zero<2>();
    Zero<3>();
  }
  for (int64_t k = 0; k < depth; k += kDepthUnit, weights += 2 * kTileBytes) {
    for (int64_t i = 0; i < ahead.step_bytes; i += kLineBytes) {
      _mm_prefetch(ahead.weights + i, _MM_HINT_T1);
    }
    ahead.weights += ahead.step_bytes;
    if constexpr (kFromMemory) PrefetchTile(weights);
    Load<6>(weights, kLineBytes);
    Load<4>(x + k, stride_bytes);
    Multiply<0, 4, 6>();
    if constexpr (kFromMemory) PrefetchTile(weights + kTileBytes);
    Load<7>(weights + kTileBytes, kLineBytes);
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

inline int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline const char* PanelOf(const PanelTask& task, int64_t panel) {
  return static_cast<const char*>(task.panels) + panel * task.depth * 2 * kPanelColumns;
}

// The part of the panel after `panel` that block `block` of `blocks` brings.
inline Ahead NextPanel(const PanelTask& task, int64_t panel, int64_t block, int64_t blocks) {
  if (blocks == 1) return {};  // which waits for nothing but its panel
  const int64_t step_lines = (2 * kTileRows + blocks - 1) / blocks;
  const int64_t block_bytes = step_lines * kLineBytes * (task.depth / kDepthUnit);
  return {PanelOf(task, panel + 1) + block * block_bytes, step_lines * kLineBytes};
}

// The block of rows from `first` on.
template <typename Epilogue>
void MultiplyBlock(const PanelTask& task, int64_t panel, int64_t first, int64_t rows,
                   const Ahead& ahead) {
  const bool from_memory = first == 0;
  alignas(64) float sums[2 * kTileRows * kPanelColumns];
  const auto sum = rows > kTileRows
                       ? (from_memory ? SumBlock<true, true> : SumBlock<true, false>)
                       : (from_memory ? SumBlock<false, true> : SumBlock<false, false>);
  sum(static_cast<const uint16_t*>(task.x) + first * task.x_stride, task.x_stride,
      PanelOf(task, panel), task.depth, ahead, sums);
  for (int64_t row = 0; row < rows; ++row) {
    const float* of_row = sums + row * kPanelColumns;
    Epilogue::Apply(task, panel, first + row, _mm512_load_ps(of_row), _mm512_load_ps(of_row + 16));
  }
}

// All panels for rows `begin` .. `end` - 1, which are blocks of `block_rows` each.
template <typename Epilogue>
void MultiplyRows(const PanelTask& task, int64_t begin, int64_t end, int64_t block_rows) {
  Configure(Smaller(block_rows, kTileRows), block_rows - Smaller(block_rows, kTileRows));
  const int64_t blocks = (end - begin) / block_rows;
  for (int64_t panel = 0; panel < task.num_panels; ++panel) {
    const bool more = begin == 0 && panel + 1 < task.num_panels;
    for (int64_t block = 0; block < blocks; ++block) {
      MultiplyBlock<Epilogue>(task, panel, begin + block * block_rows, block_rows,
                              more ? NextPanel(task, panel, block, blocks) : Ahead());
    }
  }
}

// Rows that do not fill a block come last, for all panels together: to configure tiles
// costs as much as some steps.
template <typename Epilogue>
void MultiplyPanels(const PanelTask& task) {
  constexpr int64_t kBlockRows = 2 * kTileRows;
  const int64_t whole = task.rows / kBlockRows * kBlockRows;
  for (int64_t begin = 0; begin < whole; begin += kCachedRows) {
    MultiplyRows<Epilogue>(task, begin, Smaller(whole, begin + kCachedRows), kBlockRows);
  }
  if (whole < task.rows) MultiplyRows<Epilogue>(task, whole, task.rows, task.rows - whole);
  Release();  // no thread sleeps with tiles, whose state would have to be saved
}

}  // namespace

void LinearBf16Amx(const PanelTask& task) { MultiplyPanels<StoreSums>(task); }
void SwiGluBf16Amx(const PanelTask& task) { MultiplyPanels<StoreSwiGluBf16>(task); }
void ReleaseTilesAmx() { Release(); }

}  // namespace olmoe::ops
