#include "server/ops/cpu/attention.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "glog/logging.h"

namespace olmoe::ops {
namespace {

AttendFunction AttendFunctionOf(CpuIsa isa, Precision precision) {
  switch (isa) {
#if defined(OLMOE_X86_KERNELS)
    case CpuIsa::kAvx2: return AttendAvx2;
    case CpuIsa::kAvx512Bf16: return AttendAvx512;
    case CpuIsa::kAmx: return precision == Precision::kBFloat16 ? AttendAmx : AttendAvx512;
#endif
    default: return AttendPortable;
  }
}

KvLayout LayoutOf(CpuIsa isa, const OpsOptions& options) {
  const bool bfloat16 = options.compute == Precision::kBFloat16;
  return {.num_heads = options.num_heads,
          .num_kv_heads = options.num_kv_heads,
          .head_size = options.head_size,
          .page_tokens = options.page_tokens,
          .element_bytes = static_cast<int>(BytesPerElement(options.compute)),
          .dims_unit = bfloat16 && isa == CpuIsa::kAmx ? 32 : 16};
}

// To nearest even.
uint16_t ToBFloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void Assign(float from, uint16_t* to) { *to = ToBFloat16(from); }
void Assign(float from, float* to) { *to = from; }

// One head of one position.
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
void StoreRows(const KvLayout& layout, const float* keys, const float* values, int64_t stride,
               int num_rows, std::span<const int32_t> page_ids, int position, Element* pages) {
  for (int head = 0; head < layout.num_kv_heads; ++head) {  // its pages stay in the cache
    for (int row = 0; row < num_rows; ++row) {
      const int at = position + row;
      const int32_t page = page_ids[static_cast<size_t>(at / layout.page_tokens)];
      const int64_t offset = row * stride + int64_t{head} * layout.head_size;
      StoreHead(layout, keys + offset, values + offset, at % layout.page_tokens,
                pages + layout.keys_begin(page, head), pages + layout.values_begin(page, head));
    }
  }
}

}  // namespace

CpuAttention::CpuAttention(CpuIsa isa, const OpsOptions& options)
    : layout_(LayoutOf(isa, options)), attend_(AttendFunctionOf(isa, options.compute)) {
  CHECK(Supported(isa)) << IsaName(isa);
  CHECK(layout_.page_tokens > 0 && layout_.head_size % 2 == 0);
  CHECK_EQ(layout_.num_heads % layout_.num_kv_heads, 0);
}

size_t CpuAttention::page_bytes() const {
  return static_cast<size_t>(layout_.page_size() * layout_.element_bytes);
}

size_t CpuAttention::scratch_bytes() const {
  const size_t dims = static_cast<size_t>(layout_.padded_size());
  const size_t queries = 2 * kQueriesPerPass * dims;  // and the output
  const size_t strips = 2 * kKeyBlock * dims;         // of keys and values
  const size_t tile = 2 * 16 * kKeyBlock;             // of logits and weights
  return (queries + strips + tile) * sizeof(float);
}

void CpuAttention::StoreKv(const float* keys, const float* values, int64_t stride, int num_rows,
                           std::span<const int32_t> page_ids, int position, void* pages) const {
  if (layout_.element_bytes == 2) {
    StoreRows(layout_, keys, values, stride, num_rows, page_ids, position,
              static_cast<uint16_t*>(pages));
  } else {
    StoreRows(layout_, keys, values, stride, num_rows, page_ids, position,
              static_cast<float*>(pages));
  }
}

void CpuAttention::Plan(const RowBatch& batch, std::vector<AttentionTask>* tasks) const {
  tasks->clear();
  const int rows_per_task = std::max(1, kQueriesPerPass / layout_.group());
  for (const SequenceRows& sequence : batch.sequences) {
    for (int first = 0; first < sequence.num_rows; first += rows_per_task) {
      AttentionTask task;
      task.first_row = sequence.first_row + first;
      task.num_rows = std::min(rows_per_task, sequence.num_rows - first);
      task.first_position = sequence.first_position + first;
      task.pages = sequence.pages;
      task.cost = int64_t{task.num_rows} * (task.first_position + task.num_rows);
      for (task.kv_head = 0; task.kv_head < layout_.num_kv_heads; ++task.kv_head) {
        tasks->push_back(task);
      }
    }
  }
  std::stable_sort(tasks->begin(), tasks->end(), [](const AttentionTask& a, const AttentionTask& b) {
    return a.cost > b.cost;
  });
}

void CpuAttention::Attend(const AttentionTask& task, const float* queries, int64_t query_stride,
                          const void* pages, float* output, int64_t output_stride,
                          void* scratch) const {
  AttentionRows rows;
  rows.queries = queries + task.first_row * query_stride;
  rows.query_stride = query_stride;
  rows.output = output + task.first_row * output_stride;
  rows.output_stride = output_stride;
  rows.pages = pages;
  rows.page_ids = task.pages.data();
  rows.first_position = task.first_position;
  rows.num_rows = task.num_rows;
  rows.kv_head = task.kv_head;
  attend_(layout_, rows, scratch);
}

}  // namespace olmoe::ops
