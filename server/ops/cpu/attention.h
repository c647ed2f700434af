#ifndef OLMOE_SERVER_OPS_CPU_ATTENTION_H_
#define OLMOE_SERVER_OPS_CPU_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "server/ops/cpu/attention_kernels.h"
#include "server/ops/cpu/isa.h"
#include "server/ops/cpu/kv_layout.h"
#include "server/ops/ops.h"
#include "server/ops/row_batch.h"

namespace olmoe::ops {

// Part of the attention of a step: consecutive rows of one sequence, for the query heads
// of one kv head.
struct AttentionTask {
  int first_row = 0;  // in the step
  int num_rows = 0;
  int first_position = 0;
  int kv_head = 0;
  std::span<const int32_t> pages;  // of the sequence
};

// Causal attention over the pages of one layer's keys and values. The result of a row has
// the same bits whatever else is in the step, whichever pages hold its sequence, and in
// however large a chunk it came: attention_impl.h says how. Owns nothing but the choice
// of a kernel and of the layout of pages. Immutable.
class CpuAttention {
 public:
  // CHECKs that `isa` is supported. Of `options` it uses the heads, page_tokens and compute.
  CpuAttention(CpuIsa isa, const OpsOptions& options);

  // Of one page: keys and values of all kv heads and nothing else.
  size_t page_bytes() const;
  const KvLayout& layout() const { return layout_; }

  // A thread needs this, 64-byte aligned, for Attend; not initialized.
  size_t scratch_bytes() const;

  // Stores keys and values [kv_heads * D] float32 of `num_rows` rows of a sequence, from
  // `position` on. Strides: from row to row, in floats. A task is any range of rows; ranges
  // that begin at a multiple of KvLayout::kStrip write to lines of their own.
  void StoreKv(const float* keys, int64_t key_stride, const float* values, int64_t value_stride,
               int num_rows, std::span<const int32_t> page_ids, int position, void* pages) const;

  // Tasks that make up the attention of a step, in the order to take them in: sequences
  // by cost, the costliest first, so that what is left at the end is small; in a sequence
  // all rows of one kv head, whose keys and values then stay in the cache, the last rows
  // first. `tasks` is reused.
  void Plan(const RowBatch& batch, std::vector<AttentionTask>* tasks) const;

  // queries, output: float32 [rows of the step][heads * D], row to row `query_stride` and
  // `output_stride` floats. Under kAmx it may leave tiles configured, in its own way.
  void Attend(const AttentionTask& task, const float* queries, int64_t query_stride,
              const void* pages, float* output, int64_t output_stride, void* scratch) const;

 private:
  KvLayout layout_;
  AttendFunction attend_ = nullptr;
  StoreKvFunction store_kv_ = nullptr;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ATTENTION_H_
