#include "server/ops/cpu/vec_avx512.h"

#include "server/ops/cpu/attention_vector_impl.h"

namespace olmoe::ops {

void AttendAvx512(const KvLayout& layout, const AttentionRows& rows, void* scratch) {
  AttendByVectors(layout, rows, scratch);
}

}  // namespace olmoe::ops
