#include "server/ops/cpu/vec_avx512.h"

#include "server/ops/cpu/row_kernels_impl.h"

namespace olmoe::ops {

extern const RowKernels kRowKernelsAvx512;
const RowKernels kRowKernelsAvx512 = kRowKernels;

}  // namespace olmoe::ops
