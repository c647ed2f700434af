// The instructions of AMX that the kernels use. Included by the files that are compiled for it.
//
// They are written out: GCC 12 removes the stores to the configuration that its
// _tile_loadconfig reads, and its _tile_loadd does not say that it reads memory.
#ifndef OLMOE_SERVER_OPS_CPU_AMX_TILES_H_
#define OLMOE_SERVER_OPS_CPU_AMX_TILES_H_

#include <cstdint>

namespace olmoe::ops {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kLineBytes = 64;  // of a row of a tile: 32 bfloat16 or 16 float32

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Tiles 0 .. 3 are sums and 4, 5 left operands, of `rows` rows; 6, 7 are right operands, of
// 16. Also sets all tiles to zero.
inline void ConfigureTiles(int64_t rows) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kLineBytes;
    config.rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : kTileRows);
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
}

inline void ReleaseTiles() { __asm__ volatile("tilerelease" : : : "memory"); }

template <int kTile>
inline void Zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile) : "memory");
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

// sums += left * right, of bfloat16
template <int kSums, int kLeft, int kRight>
inline void Multiply() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                   :
                   : "i"(kSums), "i"(kLeft), "i"(kRight)
                   : "memory");
}

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_AMX_TILES_H_
