// Attention over the paged cache: StoreKv and Attend of AtenOps. Pages are gathered
// into float32 keys and values of one sequence at a time; logits and softmax are
// float32 whatever the cache holds.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "server/ops/aten/aten_ops.h"
#include "server/ops/aten/attention_block.h"
#include "server/ops/aten/cpu_matmul.h"

namespace olmoe::ops {

void AtenOps::CopyPage(int32_t from, int32_t to, KvPages* pages) {
  for (const at::Tensor& cache : {pages->keys, pages->values}) cache[to].copy_(cache[from]);
}

void AtenOps::StoreKv(const Tensor& keys, const Tensor& values, const Batch& batch,
                      KvPages* pages) {
  const auto store = [&](const Tensor& rows, const at::Tensor& cache) {
    const at::Tensor heads =
        rows.to(compute_type()).view({rows.size(0), options_.num_kv_heads, options_.head_size});
    cache.transpose(1, 2).index_put_({batch.page, batch.offset}, heads);
  };
  store(keys, pages->keys);
  store(values, pages->values);
}

AtenOps::Tensor AtenOps::Attend(const Tensor& queries, const Batch& batch, const KvPages& pages) {
  at::Tensor result = at::empty_like(queries);
  for (const Batch::Sequence& sequence : batch.sequences) {
    const SequenceRows& rows = sequence.rows;
    const int64_t context = rows.first_position + rows.num_rows;
    AttendSequence(queries.narrow(0, rows.first_row, rows.num_rows),
                   GatherContext(pages.keys, sequence.pages, context),
                   GatherContext(pages.values, sequence.pages, context), rows.first_position,
                   result.narrow(0, rows.first_row, rows.num_rows));
  }
  return result;
}

// float32 [kv_heads, context, D], in the order of positions.
at::Tensor AtenOps::GatherContext(const at::Tensor& pages_of_layer, const at::Tensor& pages,
                                  int64_t context) const {
  const at::Tensor picked = pages_of_layer.index_select(0, pages);  // [n, kv_heads, page, D]
  at::Tensor gathered = at::empty({picked.size(1), picked.size(0), picked.size(2), picked.size(3)},
                                  Options(at::kFloat));
  gathered.copy_(picked.transpose(0, 1));
  return gathered.view({picked.size(1), -1, picked.size(3)}).narrow(1, 0, context);
}

void AtenOps::AttendSequence(const at::Tensor& queries, const at::Tensor& keys,
                             const at::Tensor& values, int first_position,
                             at::Tensor result) const {
  const int64_t kv_heads = options_.num_kv_heads;
  const int64_t group = options_.num_heads / kv_heads;  // query heads of one kv head
  const int64_t head_size = options_.head_size;
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_size));
  for (int64_t first = 0; first < queries.size(0); first += kQueryBlock) {
    const int64_t rows = std::min(kQueryBlock, queries.size(0) - first);
    const int64_t context = first_position + first + rows;
    const at::Tensor block = queries.narrow(0, first, rows)
                                 .view({rows, kv_heads, group, head_size})
                                 .permute({1, 2, 0, 3})
                                 .reshape({kv_heads, group * rows, head_size}) *
                             scale;
    at::Tensor logits = BatchedMatmul(block, keys.narrow(1, 0, context).transpose(1, 2));
    if (rows > 1) {  // only the block's own keys can lie in a row's future
      logits.view({kv_heads, group, rows, context})
          .narrow(3, context - rows, rows)
          .masked_fill_(future_.narrow(0, 0, rows).narrow(1, 0, rows), -INFINITY);
    }
    const at::Tensor mixed = BatchedMatmul(logits.softmax(-1), values.narrow(1, 0, context));
    result.narrow(0, first, rows)
        .view({rows, kv_heads, group, head_size})
        .copy_(mixed.view({kv_heads, group, rows, head_size}).permute({2, 0, 1, 3}));
  }
}

}  // namespace olmoe::ops
