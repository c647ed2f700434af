#include "server/ops/cpu/vec_avx2.h"

#include "server/ops/cpu/row_kernels_impl.h"

namespace olmoe::ops {

extern const RowKernels kRowKernelsAvx2;
const RowKernels kRowKernelsAvx2 = kRowKernels;

}  // namespace olmoe::ops
