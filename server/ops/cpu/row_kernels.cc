#include "server/ops/cpu/row_kernels.h"

#include "glog/logging.h"

namespace olmoe::ops {

// Of the files for one instruction set each.
extern const RowKernels kRowKernelsPortable;
extern const RowKernels kRowKernelsAvx2;
extern const RowKernels kRowKernelsAvx512;

const RowKernels& RowKernelsFor(CpuIsa isa) {
  CHECK(Supported(isa)) << IsaName(isa);
  switch (isa) {
#if defined(OLMOE_X86_KERNELS)
    case CpuIsa::kAvx2: return kRowKernelsAvx2;
    case CpuIsa::kAvx512Bf16:
    case CpuIsa::kAmx: return kRowKernelsAvx512;
#endif
    default: return kRowKernelsPortable;
  }
}

void FinishQkvRow(const RowKernels& kernels, const QkvFinish& finish, const float* cosines,
                  const float* sines, float* row) {
  const int64_t query_size = int64_t{finish.num_heads} * finish.head_size;
  const int64_t kv_size = int64_t{finish.num_kv_heads} * finish.head_size;
  float* keys = row + query_size;
  kernels.rms_norm(row, finish.query_norm, query_size, finish.epsilon, row);
  kernels.rms_norm(keys, finish.key_norm, kv_size, finish.epsilon, keys);
  if (finish.clip > 0) kernels.clamp(row, query_size + 2 * kv_size, finish.clip);
  kernels.rope(row, finish.num_heads, finish.head_size, cosines, sines);
  kernels.rope(keys, finish.num_kv_heads, finish.head_size, cosines, sines);
}

}  // namespace olmoe::ops
