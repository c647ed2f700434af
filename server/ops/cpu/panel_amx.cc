// The bfloat16 panel kernels in AMX. A block is up to 32 rows and 32 columns: four tiles of
// sums, two of x, two of weights; every tile that is loaded is used twice. Fewer than 16
// rows have tiles of so many, so one row costs little and nothing beyond x is read.
//
// With an expert's 64 rows of a prefill, memory brings a panel in a time in which 64 rows
// can be computed twice. But a block computes from a panel as it comes, and were the whole
// panel read block after block, memory would idle during all but the first. So blocks take
// turns (SumPanel), and what else there is to do is spread over them (Finish).
#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/amx_tiles.h"
#include "server/ops/cpu/avx512_epilogue.h"
#include "server/ops/cpu/panel_functions.h"

namespace olmoe::ops {
namespace {

constexpr int64_t kSumsOfTile = kTileRows * kPanelColumns;
// Tiles of rows whose x stays in the second-level cache while the panels of a task go by.
constexpr int64_t kCachedTiles = 16;
// More rows than a block's are results that nobody will find in a cache.
constexpr int64_t kBlockRows = 2 * kTileRows;
// The tiles that take turns at a panel, and the depth of a turn: 8 KiB of weights.
constexpr int64_t kTurnTiles = 6;
constexpr int64_t kTurnSteps = 4;

inline int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <int64_t kLines>
inline void Prefetch(const char* lines) {
#pragma GCC unroll 16
  for (int64_t line = 0; line < kLines; ++line) {
    _mm_prefetch(lines + line * kLineBytes, _MM_HINT_T0);
  }
}

// What a block finds of the panel.
enum class Source {
  kMemory,  // nobody has read these steps of it
  kTurn,    // the same in a turn: what it prefetches must leave line buffers to the other blocks
  kCache,   // a block before has read them
  kCacheBeforeTurn,  // the same, and the next turn's first lines are to be prefetched meanwhile
};

// Some steps of a panel for a block of rows.
struct Steps {
  const uint16_t* first;   // x of its first tile, at the first of the steps
  const uint16_t* second;  // of its second tile; null: it has one
  int64_t stride_bytes;    // of x
  const char* weights;
  int64_t count;
  bool begin;   // there are no sums yet
  float* sums;  // [16][32], and another for the second tile
};

template <bool kTwo, Source kFrom>
void AddSteps(const Steps& steps) {
  constexpr int64_t kAhead = kFrom == Source::kMemory ? 1024 : kFrom == Source::kTurn ? 512 : 0;
  constexpr int64_t kNextLines = kFrom == Source::kCacheBeforeTurn ? 8 : 0;
  constexpr int64_t kSumsBytes = kPanelColumns * 4;
  float* const sums = steps.sums;
  if (steps.begin) {
    Zero<0>();
    Zero<1>();
    if constexpr (kTwo) {
      Zero<2>();
      Zero<3>();
    }
  } else {
    Load<0>(sums, kSumsBytes);
    Load<1>(sums + 16, kSumsBytes);
    if constexpr (kTwo) {
      Load<2>(sums + kSumsOfTile, kSumsBytes);
      Load<3>(sums + kSumsOfTile + 16, kSumsBytes);
    }
  }
  const char* weights = steps.weights;
  const char* next = weights + steps.count * 2 * kTileBytes;
  for (int64_t k = 0; k < steps.count * kDepthUnit; k += kDepthUnit, weights += 2 * kTileBytes) {
    if constexpr (kNextLines > 0) Prefetch<kNextLines>(next);
    next += kNextLines * kLineBytes;
    if constexpr (kAhead > 0) Prefetch<16>(weights + kAhead);
    Load<6>(weights, kLineBytes);
    Load<4>(steps.first + k, steps.stride_bytes);
    Multiply<0, 4, 6>();
    if constexpr (kAhead > 0) Prefetch<16>(weights + kTileBytes + kAhead);
    Load<7>(weights + kTileBytes, kLineBytes);
    Multiply<1, 4, 7>();
    if constexpr (kTwo) {
      Load<5>(steps.second + k, steps.stride_bytes);
      Multiply<2, 5, 6>();
      Multiply<3, 5, 7>();
    }
  }
  Store<0>(sums, kSumsBytes);
  Store<1>(sums + 16, kSumsBytes);
  if constexpr (kTwo) {
    Store<2>(sums + kSumsOfTile, kSumsBytes);
    Store<3>(sums + kSumsOfTile + 16, kSumsBytes);
  }
}

template <Source kFrom>
inline void AddSteps(const Steps& steps) {
  steps.second != nullptr ? AddSteps<true, kFrom>(steps) : AddSteps<false, kFrom>(steps);
}

// How the rows of a task are cut into tiles: as few as possible, all of as many rows, for a
// product takes as long as it has rows. The last one ends with the last row, and computes
// again, with the same bits, what it shares with the one before: to configure tiles for the
// rest would take longer, and nothing beyond x may be read.
struct Cut {
  explicit Cut(const PanelTask& task)
      : tiles((task.rows + kTileRows - 1) / kTileRows),
        rows_of_tile((task.rows + tiles - 1) / tiles),
        last(task.rows - rows_of_tile) {}
  int64_t FirstRow(int64_t tile) const { return Smaller(tile * rows_of_tile, last); }

  int64_t tiles;
  int64_t rows_of_tile;
  int64_t last;  // where the last tile begins
};

// Some tiles of rows, and the sums of a panel for them.
struct TileRange {
  int64_t begin = 0;
  int64_t end = 0;
  float* sums = nullptr;  // [end - begin][16][32]
};

// `count` steps from `step` on, for `tile` and, if it is of the range, the next one.
inline Steps StepsOf(const PanelTask& task, const Cut& cut, const char* panel,
                     const TileRange& range, int64_t tile, int64_t step, int64_t count) {
  const uint16_t* x = static_cast<const uint16_t*>(task.x) + step * kDepthUnit;
  const bool two = tile + 1 < range.end;
  return {.first = x + cut.FirstRow(tile) * task.x_stride,
          .second = two ? x + cut.FirstRow(tile + 1) * task.x_stride : nullptr,
          .stride_bytes = task.x_stride * 2,
          .weights = panel + step * 2 * kTileBytes,
          .count = count,
          .begin = step == 0,
          .sums = range.sums + (tile - range.begin) * kSumsOfTile};
}

// The sums of a panel on their way through the epilogue, in parts. One thread.
template <typename Epilogue>
class Finish {
 public:
  Finish(const PanelTask& task, const Cut& cut, Epilogue* epilogue)
      : task_(task), cut_(cut), epilogue_(epilogue) {}

  void Begin(int64_t panel, const TileRange& range) {
    panel_ = panel;
    range_ = range;
    tile_ = range.begin;
    row_ = 0;
  }
  // One part of `parts`.
  void DoPart(int64_t parts) { Do(((range_.end - range_.begin) * cut_.rows_of_tile) / parts + 1); }
  void DoRest() { Do((range_.end - range_.begin) * cut_.rows_of_tile); }

 private:
  void Do(int64_t rows) {
    for (; rows > 0 && tile_ < range_.end; --rows) {
      const float* sums = range_.sums + (tile_ - range_.begin) * kSumsOfTile + row_ * kPanelColumns;
      epilogue_->Apply(task_, panel_, cut_.FirstRow(tile_) + row_, _mm512_load_ps(sums),
                       _mm512_load_ps(sums + 16));
      if (++row_ == cut_.rows_of_tile) {
        ++tile_;
        row_ = 0;
      }
    }
  }

  const PanelTask& task_;
  const Cut& cut_;
  Epilogue* epilogue_;
  int64_t panel_ = 0;
  TileRange range_;
  int64_t tile_ = 0, row_ = 0;  // the next one
};

// The sums of `range`, and meanwhile the rest of `before`. In a turn the first block computes
// kTurnSteps from memory, the others the same from the first-level cache, and some rows of
// `before` are finished, while the hardware fetches on. More than kTurnTiles gain nothing by it.
template <typename Epilogue>
void SumPanel(const PanelTask& task, const Cut& cut, const char* panel, const TileRange& range,
              Finish<Epilogue>* before) {
  const int64_t steps = task.depth / kDepthUnit;
  const auto of = [&](int64_t tile, int64_t step, int64_t count) {
    return StepsOf(task, cut, panel, range, tile, step, count);
  };
  int64_t summed = range.begin + 2;
  if (range.begin == 0 && range.end > 2) {
    summed = Smaller(range.end, kTurnTiles);
    for (int64_t step = 0; step < steps; step += kTurnSteps) {
      const int64_t count = Smaller(kTurnSteps, steps - step);
      AddSteps<Source::kTurn>(of(0, step, count));
      AddSteps<Source::kCacheBeforeTurn>(of(2, step, count));
      static_assert(kTurnTiles == 6);
      if (summed > 4) AddSteps<Source::kCache>(of(4, step, count));
      before->DoPart((steps + kTurnSteps - 1) / kTurnSteps);
    }
  } else {
    AddSteps<Source::kMemory>(of(range.begin, 0, steps));
  }
  before->DoRest();
  for (int64_t tile = summed; tile < range.end; tile += 2) {
    AddSteps<Source::kCache>(of(tile, 0, steps));
  }
}

template <typename Epilogue>
void MultiplyPanels(const PanelTask& task) {
  alignas(64) float sums[2][kCachedTiles * kSumsOfTile];
  const Cut cut(task);
  const int64_t panel_bytes = task.depth * 2 * kPanelColumns;
  Epilogue epilogue;
  Finish<Epilogue> finish(task, cut, &epilogue);
  ConfigureTiles(cut.rows_of_tile);
  for (int64_t begin = 0; begin < cut.tiles; begin += kCachedTiles) {
    const int64_t end = Smaller(cut.tiles, begin + kCachedTiles);
    for (int64_t panel = 0; panel < task.num_panels; ++panel) {
      const TileRange range = {begin, end, sums[panel % 2]};
      SumPanel(task, cut, static_cast<const char*>(task.panels) + panel * panel_bytes, range,
               &finish);
      finish.Begin(panel, range);
    }
    finish.DoRest();
  }
  ReleaseTiles();  // no thread sleeps with tiles, whose state would have to be saved
}

// Results that go to memory past the caches: to fetch their lines before they are written
// took as long as a fifth of the weights. They need whole lines.

struct StreamSums {
  static void Apply(const PanelTask& task, int64_t panel, int64_t row, __m512 low, __m512 high) {
    if (task.bias != nullptr || task.columns < (panel + 1) * kPanelColumns) {
      return StoreSums::Apply(task, panel, row, low, high);
    }
    float* out = static_cast<float*>(task.out) + row * task.out_stride + panel * kPanelColumns;
    _mm512_stream_ps(out, low);
    _mm512_stream_ps(out + 16, high);
  }
};

// Two panels make a line: that of the first one waits for the second. One thread.
class StreamSwiGluBf16 {
 public:
  void Apply(const PanelTask& task, int64_t panel, int64_t row, __m512 gate, __m512 up) {
    __m256i* of_row = &first_half_[row % (kCachedTiles * kTileRows)];
    if (panel % 2 == 0 && panel + 1 == task.num_panels) {
      return StoreSwiGluBf16::Apply(task, panel, row, gate, up);
    }
    const __m256i result = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(SwiGluOf(gate, up)));
    if (panel % 2 == 0) {
      *of_row = result;
      return;
    }
    uint16_t* out =
        static_cast<uint16_t*>(task.out) + row * task.out_stride + (panel - 1) * kGateColumns;
    _mm512_stream_si512(reinterpret_cast<__m512i*>(out),
                        _mm512_inserti64x4(_mm512_castsi256_si512(*of_row), result, 1));
  }

 private:
  __m256i first_half_[kCachedTiles * kTileRows];
};

template <typename Stored, typename Streamed>
void Multiply(const PanelTask& task, int64_t element_bytes) {
  const bool lines = reinterpret_cast<uintptr_t>(task.out) % kLineBytes == 0 &&
                     task.out_stride * element_bytes % kLineBytes == 0;
  if (task.rows <= kBlockRows || !lines) return MultiplyPanels<Stored>(task);
  MultiplyPanels<Streamed>(task);
  _mm_sfence();  // another thread will read them
}

}  // namespace

void LinearBf16Amx(const PanelTask& task) { Multiply<StoreSums, StreamSums>(task, 4); }
void SwiGluBf16Amx(const PanelTask& task) { Multiply<StoreSwiGluBf16, StreamSwiGluBf16>(task, 2); }
void ReleaseTilesAmx() { ReleaseTiles(); }

}  // namespace olmoe::ops
