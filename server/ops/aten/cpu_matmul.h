// Matrix products for which ATen's own way on a CPU is not good enough. Everything
// here is a plain ATen product on other devices.
#ifndef OLMOE_SERVER_OPS_ATEN_CPU_MATMUL_H_
#define OLMOE_SERVER_OPS_ATEN_CPU_MATMUL_H_

#include <ATen/core/Tensor.h>

namespace olmoe::ops {

// result [m, out] = x [m, in] * weight [out, in]^T, all of one dtype. float32 on the
// CPU goes to BLAS, which this process runs with one thread (host_libraries.h); the output
// columns are divided among ATen's threads here.
void MatmulTransposed(const at::Tensor& x, const at::Tensor& weight, at::Tensor result);

// result [n, a, c] = x [n, a, b] * y [n, b, c], float32. ATen without MKL would do
// them one after the other.
at::Tensor BatchedMatmul(const at::Tensor& x, const at::Tensor& y);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_CPU_MATMUL_H_
