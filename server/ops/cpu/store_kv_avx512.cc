// Storing bfloat16 keys and values in blocked pages by AVX512: a strip at a time, so that a
// line of the cache, which holds two dimensions of 16 positions, is written once. A number
// is rounded by the same instruction however many rows there are.
#include <immintrin.h>

#include <cstdint>

#include "server/ops/cpu/attention_kernels.h"
#include "server/ops/cpu/kv_layout.h"

namespace olmoe::ops {
namespace {

constexpr int kStrip = KvLayout::kStrip;
constexpr int kDims = 16;  // at a time

inline __m256i Narrow(const float* from) {
  const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(from));
  __m256i bits;
  __builtin_memcpy(&bits, &narrow, sizeof(bits));
  return bits;
}

// Rows that go to positions begin ... end - 1 of one strip.
struct StripRows {
  const float* first = nullptr;  // of this head
  int64_t stride = 0;
  int begin = 0;
  int end = 0;

  const float* at(int i) const { return first + (i - begin) * stride; }
};

void StoreKeys(const StripRows& rows, int head_size, uint16_t* strip) {
  alignas(64) uint32_t pairs[kStrip][kDims / 2] = {};
  const __mmask16 stored = static_cast<__mmask16>((1u << rows.end) - (1u << rows.begin));
  const __m512i lanes =
      _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(kDims / 2));
  for (int d = 0; d < head_size; d += kDims) {
    for (int i = rows.begin; i < rows.end; ++i) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[i]), Narrow(rows.at(i) + d));
    }
    uint16_t* to = strip + d * kStrip;
    if (rows.end - rows.begin == 1) {
      for (int pair = 0; pair < kDims / 2; ++pair) {
        __builtin_memcpy(to + (pair * kStrip + rows.begin) * 2, &pairs[rows.begin][pair], 4);
      }
      continue;
    }
    for (int pair = 0; pair < kDims / 2; ++pair) {
      const __m512i line = _mm512_i32gather_epi32(lanes, &pairs[0][pair], 4);
      _mm512_mask_storeu_epi32(to + pair * kStrip * 2, stored, line);
    }
  }
}

void StoreValues(const StripRows& rows, int head_size, uint16_t* strip) {
  for (int i = rows.begin / 2 * 2; i < rows.end; i += 2) {
    const bool even = i >= rows.begin, odd = i + 1 < rows.end;
    const __mmask32 stored = (even ? 0x55555555u : 0u) | (odd ? 0xaaaaaaaau : 0u);
    uint16_t* to = strip + i * head_size;
    for (int d = 0; d < head_size; d += kDims) {
      __m512i pairs = _mm512_setzero_si512();
      if (even) pairs = _mm512_cvtepu16_epi32(Narrow(rows.at(i) + d));
      if (odd) {
        const __m512i second = _mm512_cvtepu16_epi32(Narrow(rows.at(i + 1) + d));
        pairs = _mm512_or_si512(pairs, _mm512_slli_epi32(second, 16));
      }
      _mm512_mask_storeu_epi16(to + 2 * d, stored, pairs);
    }
  }
}

}  // namespace

void StoreKvAvx512(const KvLayout& layout, const KvRows& rows) {
  uint16_t* pages = static_cast<uint16_t*>(rows.pages);
  for (int head = rows.first_head; head < rows.first_head + rows.num_heads; ++head) {
    const int64_t of_head = int64_t{head} * layout.head_size;
    for (int row = 0; row < rows.num_rows;) {
      const int position = rows.position + row;
      const int64_t page = rows.page_ids[position / layout.page_tokens];
      const int inside = position % layout.page_tokens;
      StripRows part;
      part.begin = inside % kStrip;
      const int left = rows.num_rows - row;
      part.end = part.begin + left < kStrip ? part.begin + left : kStrip;
      const int64_t strip = int64_t{inside - part.begin} * layout.head_size;
      part.stride = rows.key_stride;
      part.first = rows.keys + row * part.stride + of_head;
      StoreKeys(part, layout.head_size, pages + layout.keys_begin(page, head) + strip);
      part.stride = rows.value_stride;
      part.first = rows.values + row * part.stride + of_head;
      StoreValues(part, layout.head_size, pages + layout.values_begin(page, head) + strip);
      row += part.end - part.begin;
    }
  }
}

}  // namespace olmoe::ops
