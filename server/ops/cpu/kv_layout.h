#ifndef OLMOE_SERVER_OPS_CPU_KV_LAYOUT_H_
#define OLMOE_SERVER_OPS_CPU_KV_LAYOUT_H_

#include <cstddef>
#include <cstdint>

namespace olmoe::ops {

// Where the keys and values of one layer lie. A page holds `page_tokens` positions:
// [kv_heads] of (keys, values), each page_tokens * head_size numbers, bfloat16 or
// float32. Inside these, positions come in strips of kStrip:
//
//           blocked                                    plain
//   keys    [strip][head_size / 2][kStrip][2] bf16     [page_tokens][head_size]
//           [strip][head_size][kStrip] float32
//   values  [strip][kStrip / 2][head_size][2] bf16     [page_tokens][head_size]
//           [strip][kStrip][head_size] float32
//
// Blocked is what the kernels compute on: a vector of keys holds one dimension (bf16: two)
// of 16 positions, so dot products need no sums across a vector; a vector of bf16 values
// holds 16 dimensions of 2 positions. Both are also tiles as AMX wants its second operand.
// Where whole strips do not fill a page, or whole vectors (`dims_unit`) a head, nothing is
// padded, which would waste the cache: the layout is plain and the kernels gather strips.
// Immutable. Its functions are always inlined: files for different instruction sets call them.
struct KvLayout {
  static constexpr int kStrip = 16;

  int num_heads = 0;     // of queries
  int num_kv_heads = 0;
  int head_size = 0;     // even
  int page_tokens = 0;
  int element_bytes = 4;  // 2: bfloat16, 4: float32
  int dims_unit = 16;     // of padded_size

  // Query heads of a kv head.
  [[gnu::always_inline]] int group() const { return num_heads / num_kv_heads; }
  [[gnu::always_inline]] bool blocked() const {
    return page_tokens % kStrip == 0 && head_size % dims_unit == 0;
  }
  // Dimensions of a head where the kernels compute: the last ones are 0.
  [[gnu::always_inline]] int padded_size() const {
    return (head_size + dims_unit - 1) / dims_unit * dims_unit;
  }

  // Elements.
  [[gnu::always_inline]] int64_t part_size() const { return int64_t{page_tokens} * head_size; }
  [[gnu::always_inline]] int64_t page_size() const { return 2 * num_kv_heads * part_size(); }
  [[gnu::always_inline]] int64_t keys_begin(int64_t page, int kv_head) const {
    return page * page_size() + 2 * kv_head * part_size();
  }
  [[gnu::always_inline]] int64_t values_begin(int64_t page, int kv_head) const {
    return keys_begin(page, kv_head) + part_size();
  }
};

// Keys and values that are stored: rows at `position` ... of one sequence.
struct KvRows {
  const float* keys = nullptr;    // of the first row: [num_kv_heads][head_size]
  const float* values = nullptr;  // of the first row: [num_kv_heads][head_size]
  int64_t key_stride = 0;         // from row to row, in floats
  int64_t value_stride = 0;
  int num_rows = 0;
  int position = 0;
  const int32_t* page_ids = nullptr;  // of the sequence
  void* pages = nullptr;              // of the layer
  int first_head = 0;                 // of the kv heads that are stored
  int num_heads = 0;
};

// What one task of attention reads and writes: query rows `first_position` ... of one
// sequence and the query heads of one kv head.
struct AttentionRows {
  const float* queries = nullptr;  // of the first row: [num_heads][head_size]
  int64_t query_stride = 0;        // from row to row, in floats
  float* output = nullptr;         // of the first row: [num_heads][head_size]
  int64_t output_stride = 0;
  const void* pages = nullptr;     // of the layer
  const int32_t* page_ids = nullptr;
  int first_position = 0;
  int num_rows = 0;
  int kv_head = 0;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_KV_LAYOUT_H_
