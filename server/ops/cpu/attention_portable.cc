#include "server/ops/cpu/vec_portable.h"

#include "server/ops/cpu/attention_vector_impl.h"

namespace olmoe::ops {

void AttendPortable(const KvLayout& layout, const AttentionRows& rows, void* scratch) {
  AttendByVectors(layout, rows, scratch);
}

}  // namespace olmoe::ops
