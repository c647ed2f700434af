#include "server/ops/cpu/vec_avx2.h"

#include "server/ops/cpu/attention_vector_impl.h"

namespace olmoe::ops {

void AttendAvx2(const KvLayout& layout, const AttentionRows& rows, void* scratch) {
  AttendByVectors(layout, rows, scratch);
}

}  // namespace olmoe::ops
