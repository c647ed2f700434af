#include "server/ops/cpu/vec_portable.h"

#include "server/ops/cpu/row_kernels_impl.h"

namespace olmoe::ops {

extern const RowKernels kRowKernelsPortable;
const RowKernels kRowKernelsPortable = kRowKernels;

}  // namespace olmoe::ops
