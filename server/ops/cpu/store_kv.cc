// Storing keys and values without vectors: any layout.
#include <bit>

#include "server/ops/cpu/attention_kernels.h"

namespace olmoe::ops {
namespace {

// To nearest even.
uint16_t ToBFloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void Assign(float from, uint16_t* to) { *to = ToBFloat16(from); }
void Assign(float from, float* to) { *to = from; }

// One head of one position, `inside` its page.
template <typename Element>
void StoreHead(const KvLayout& layout, const float* key, const float* value, int inside,
               Element* keys, Element* values) {
  constexpr bool kPairs = sizeof(Element) == 2;
  const int64_t size = layout.head_size;
  if (!layout.blocked()) {
    for (int64_t d = 0; d < size; ++d) {
      Assign(key[d], &keys[inside * size + d]);
      Assign(value[d], &values[inside * size + d]);
    }
    return;
  }
  constexpr int64_t kStrip = KvLayout::kStrip;
  const int64_t strip = inside / kStrip * kStrip * size, i = inside % kStrip;
  keys += strip;
  values += strip;
  for (int64_t d = 0; d < size; ++d) {
    Assign(key[d], &keys[kPairs ? (d / 2 * kStrip + i) * 2 + d % 2 : d * kStrip + i]);
    Assign(value[d], &values[kPairs ? i / 2 * 2 * size + 2 * d + i % 2 : i * size + d]);
  }
}

template <typename Element>
void StoreRows(const KvLayout& layout, const KvRows& rows) {
  Element* pages = static_cast<Element*>(rows.pages);
  for (int head = rows.first_head; head < rows.first_head + rows.num_heads; ++head) {
    for (int row = 0; row < rows.num_rows; ++row) {
      const int position = rows.position + row;
      const int64_t page = rows.page_ids[position / layout.page_tokens];
      const int64_t of_head = int64_t{head} * layout.head_size;
      StoreHead(layout, rows.keys + row * rows.key_stride + of_head,
                rows.values + row * rows.value_stride + of_head, position % layout.page_tokens,
                pages + layout.keys_begin(page, head), pages + layout.values_begin(page, head));
    }
  }
}

}  // namespace

void StoreKvPortable(const KvLayout& layout, const KvRows& rows) {
  if (layout.element_bytes == 2) {
    StoreRows<uint16_t>(layout, rows);
  } else {
    StoreRows<float>(layout, rows);
  }
}

}  // namespace olmoe::ops
