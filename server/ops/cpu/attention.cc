#include "server/ops/cpu/attention.h"

#include <algorithm>

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

// Pairs of a query and a position, of one head.
int64_t Cost(const SequenceRows& sequence) {
  return sequence.num_rows * (int64_t{sequence.first_position} + (sequence.num_rows + 1) / 2);
}

StoreKvFunction StoreKvFunctionOf(CpuIsa isa, const KvLayout& layout) {
#if defined(OLMOE_X86_KERNELS)
  const bool avx512 = isa == CpuIsa::kAvx512Bf16 || isa == CpuIsa::kAmx;
  if (avx512 && layout.blocked() && layout.element_bytes == 2) return StoreKvAvx512;
#endif
  return StoreKvPortable;
}

}  // namespace

CpuAttention::CpuAttention(CpuIsa isa, const OpsOptions& options)
    : layout_(LayoutOf(isa, options)),
      attend_(AttendFunctionOf(isa, options.compute)),
      store_kv_(StoreKvFunctionOf(isa, layout_)) {
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

void CpuAttention::StoreKv(const float* keys, int64_t key_stride, const float* values,
                           int64_t value_stride, int num_rows, std::span<const int32_t> page_ids,
                           int position, void* pages) const {
  KvRows rows;
  rows.keys = keys;
  rows.key_stride = key_stride;
  rows.values = values;
  rows.value_stride = value_stride;
  rows.num_rows = num_rows;
  rows.position = position;
  rows.page_ids = page_ids.data();
  rows.pages = pages;
  rows.num_heads = layout_.num_kv_heads;
  store_kv_(layout_, rows);
}

void CpuAttention::Plan(const RowBatch& batch, std::vector<AttentionTask>* tasks) const {
  tasks->clear();
  std::vector<const SequenceRows*> sequences;
  for (const SequenceRows& sequence : batch.sequences) sequences.push_back(&sequence);
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const auto* a, const auto* b) { return Cost(*a) > Cost(*b); });
  const int rows_per_task = std::max(1, kQueriesPerPass / layout_.group());
  for (const SequenceRows* sequence : sequences) {
    const int last = (sequence->num_rows - 1) / rows_per_task * rows_per_task;
    for (int kv_head = 0; kv_head < layout_.num_kv_heads; ++kv_head) {
      for (int first = last; first >= 0; first -= rows_per_task) {
        tasks->push_back({.first_row = sequence->first_row + first,
                          .num_rows = std::min(rows_per_task, sequence->num_rows - first),
                          .first_position = sequence->first_position + first,
                          .kv_head = kv_head,
                          .pages = sequence->pages});
      }
    }
  }
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
