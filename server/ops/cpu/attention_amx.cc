// The products of attention by AMX, for bfloat16 keys and values.
//
// A tile product is C [M][16] += A [M][32] B [32][16] of bfloat16 with float32 sums, where B
// lies as pairs of its rows: [16][16][2]. A strip of keys is such a B for each 32 dimensions
// (A: queries), and two strips of values are one for each 16 dimensions (A: weights).
//
// Queries and weights are float32, and rounding them to bfloat16 would cost what the
// attention of float32 logits is there for. Each is the sum of two bfloat16 numbers, cut at
// the 16th bit (exactly) and the rest rounded, so 16 bits count; every B meets both. That
// halves the peak, but the exponentials take longer than the products.
//
// A row of a product has the same bits in a tile of one row and of 16 (measured, and a
// test), so a pass of fewer than 16 queries, as in decoding, has tiles of that many rows.
//
// A product with weight 0 leaves a sum as it is. tdpbf16ps takes a subnormal sum for 0, but
// also gives none; only the scaling by an earlier maximum makes some, and a product by real
// weights follows that one in every batch.
#include "server/ops/cpu/vec_avx512.h"

#include "server/ops/cpu/amx_tiles.h"
#include "server/ops/cpu/attention_impl.h"

namespace olmoe::ops {
namespace {

constexpr int kTileDims = 32;   // of A in a product of queries and keys; positions, of weights

// As many values as a tile of keys holds.
[[gnu::always_inline]] inline void PrefetchTile(const uint16_t* from) {
#pragma GCC unroll 16
  for (int row = 0; row < 16; ++row) __builtin_prefetch(from + row * kTileDims);
}

// Two vectors in as many of bfloat16: what the 16 leading bits hold, and the rest.
[[gnu::always_inline]] inline void Split(Vec::F first, Vec::F second, uint16_t* high,
                                         uint16_t* low) {
  const __m512i leading = _mm512_set1_epi32(int{-65536});
  const auto cut = [&](Vec::F x) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), leading));
  };
  const Vec::F first_high = cut(first), second_high = cut(second);
  const __m512bh highs = _mm512_cvtne2ps_pbh(second_high, first_high);
  const __m512bh lows =
      _mm512_cvtne2ps_pbh(_mm512_sub_ps(second, second_high), _mm512_sub_ps(first, first_high));
  __builtin_memcpy(high, &highs, sizeof(highs));
  __builtin_memcpy(low, &lows, sizeof(lows));
}

class AmxProducts {
 public:
  using Element = uint16_t;

  AmxProducts(const KvLayout& layout, int num_queries, float* queries, float* memory)
      : dims_(layout.padded_size()),
        queries_(reinterpret_cast<uint16_t*>(queries)),
        logits_(memory),
        weights_(reinterpret_cast<uint16_t*>(memory + kTileQueries * kKeyBlock)) {
    // Rows that a last tile does not have are computed from whatever is in scratch, and stay
    // in scratch.
    ConfigureTiles(Smaller(kTileQueries, num_queries));
  }

  // Tiles of A: [tile][dims / 32][2][kTileQueries][32].
  void SetQuery(int query, const float* scaled) {
    uint16_t* row = queries_ + query / kTileQueries * kTileQueries * 2 * dims_ +
                    query % kTileQueries * kTileDims;
    for (int d = 0; d < dims_; d += kTileDims) {
      uint16_t* high = row + 2 * d * kTileQueries;
      Split(Vec::Load(scaled + d), Vec::Load(scaled + d + 16), high,
            high + kTileQueries * kTileDims);
    }
  }

  // A product takes the values of 32 positions, one after the other in memory and finite.
  void StartMix(KeyBlock<Element>* block, Element* values) {
    const int64_t strip_size = int64_t{kStrip} * dims_;
    for (int strip = 0; strip * kStrip < block->num_positions; strip += 2) {
      const int n = Smaller(kTileDims, block->num_positions - strip * kStrip);
      const Element* first = block->values[strip];
      if (n == kTileDims && block->values[strip + 1] == first + strip_size) continue;
      Element* copy = values + strip * strip_size;
      CopyValues(first, Smaller(kStrip, n), copy);
      CopyValues(n > kStrip ? block->values[strip + 1] : nullptr, n > kStrip ? n - kStrip : 0,
                 copy + strip_size);
      block->values[strip] = copy;
    }
  }

  const float* logits() const { return logits_; }

  void StoreWeights(int row, int lane, Vec::F first, Vec::F second) {
    uint16_t* high = weights_ + row * kKeyBlock + lane;
    Split(first, second, high, high + kTileQueries * kKeyBlock);
  }

  // Whole strips; what lies beyond n is not read.
  void Logits(int tile, int /*rows*/, const KeyBlock<Element>& block, int n) {
    const uint16_t* queries = queries_ + tile * 2 * dims_;
    const int strips = (n + kStrip - 1) / kStrip;
    if (strips == kStripsPerBlock) return LogitsOfBlock(queries, block);
    for (int strip = 0; strip < strips; ++strip) {
      Zero<0>();
      for (int d = 0; d < dims_; d += kTileDims) {
        const uint16_t* query = queries + 2 * d * kTileQueries;
        Load<4>(query, kLineBytes);
        Load<5>(query + kTileQueries * kTileDims, kLineBytes);
        Load<6>(block.keys[strip] + d * kStrip, kLineBytes);
        Multiply<0, 4, 6>();
        Multiply<0, 5, 6>();
      }
      Store<0>(logits_ + strip * kStrip, kKeyBlock * 4);
    }
  }

  void Mix(int /*rows*/, const KeyBlock<Element>& block, int n, float* output) {
    int d = 0;
    for (; d + 64 <= dims_; d += 64) MixOf<64>(block, n, d, output + d);
    for (; d < dims_; d += 32) MixOf<32>(block, n, d, output + d);
  }

 private:
  // The values of n positions of a strip, and zeros up to a strip.
  void CopyValues(const Element* from, int n, Element* to) const {
    const int64_t pair_size = 2 * int64_t{dims_};
    const int pairs = n / 2;
    const int64_t whole = pairs * pair_size;
    for (int64_t i = 0; i < whole; i += 32) {
      _mm512_storeu_si512(to + i, _mm512_loadu_si512(from + i));
    }
    for (int64_t i = whole; i < kStrip / 2 * pair_size; i += 32) {
      __m512i pair = _mm512_setzero_si512();
      if (n % 2 == 1 && i < whole + pair_size) {
        pair = _mm512_maskz_loadu_epi16(__mmask32{0x55555555}, from + i);
      }
      _mm512_storeu_si512(to + i, pair);
    }
  }

  void LogitsOfBlock(const uint16_t* queries, const KeyBlock<Element>& block) {
    Zero<0>();
    Zero<1>();
    Zero<2>();
    Zero<3>();
    for (int d = 0; d < dims_; d += kTileDims) {
      const uint16_t* query = queries + 2 * d * kTileQueries;
      Load<4>(query, kLineBytes);
      Load<5>(query + kTileQueries * kTileDims, kLineBytes);
      Load<6>(block.keys[0] + d * kStrip, kLineBytes);
      Load<7>(block.keys[1] + d * kStrip, kLineBytes);
      Multiply<0, 4, 6>();
      Multiply<1, 4, 7>();
      Multiply<0, 5, 6>();
      Multiply<1, 5, 7>();
      Load<6>(block.keys[2] + d * kStrip, kLineBytes);
      Load<7>(block.keys[3] + d * kStrip, kLineBytes);
      Multiply<2, 4, 6>();
      Multiply<3, 4, 7>();
      Multiply<2, 5, 6>();
      Multiply<3, 5, 7>();
      if (!block.prefetch) continue;
      for (const Element* values : block.values) PrefetchTile(values + d * kStrip);
    }
    Store<0>(logits_, kKeyBlock * 4);
    Store<1>(logits_ + kStrip, kKeyBlock * 4);
    Store<2>(logits_ + 2 * kStrip, kKeyBlock * 4);
    Store<3>(logits_ + 3 * kStrip, kKeyBlock * 4);
  }

  void LoadWeights(int position) const {
    const uint16_t* high = weights_ + position;
    Load<4>(high, kKeyBlock * 2);
    Load<5>(high + kTileQueries * kKeyBlock, kKeyBlock * 2);
  }

  template <int kDims>
  void MixOf(const KeyBlock<Element>& block, int n, int d, float* output) const {
    const int64_t output_bytes = int64_t{dims_} * 4;
    Load<0>(output, output_bytes);
    Load<1>(output + 16, output_bytes);
    if constexpr (kDims == 64) {
      Load<2>(output + 32, output_bytes);
      Load<3>(output + 48, output_bytes);
    }
    for (int position = 0; position < n; position += kTileDims) {
      const Element* values = block.values[position / kStrip] + 2 * d;
      LoadWeights(position);
      Load<6>(values, output_bytes);
      Load<7>(values + 32, output_bytes);
      Multiply<0, 4, 6>();
      Multiply<1, 4, 7>();
      Multiply<0, 5, 6>();
      Multiply<1, 5, 7>();
      if constexpr (kDims == 64) {
        Load<6>(values + 64, output_bytes);
        Load<7>(values + 96, output_bytes);
        Multiply<2, 4, 6>();
        Multiply<3, 4, 7>();
        Multiply<2, 5, 6>();
        Multiply<3, 5, 7>();
      }
    }
    Store<0>(output, output_bytes);
    Store<1>(output + 16, output_bytes);
    if constexpr (kDims == 64) {
      Store<2>(output + 32, output_bytes);
      Store<3>(output + 48, output_bytes);
    }
  }

  const int dims_;
  uint16_t* const queries_;
  float* const logits_;      // [kTileQueries][kKeyBlock]
  uint16_t* const weights_;  // [2][kTileQueries][kKeyBlock]: the two parts
};

}  // namespace

void AttendAmx(const KvLayout& layout, const AttentionRows& rows, void* scratch) {
  Attend<AmxProducts>(layout, rows, scratch);
}

}  // namespace olmoe::ops
