#include "server/ops/aten/cpu_matmul.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

namespace olmoe::ops {
namespace {

// Fewer output columns than this are not worth a thread.
constexpr int64_t kColumnsPerThread = 32;

}  // namespace

void MatmulTransposed(const at::Tensor& x, const at::Tensor& weight, at::Tensor result) {
  if (!x.device().is_cpu() || x.scalar_type() != at::kFloat) {
    at::mm_out(result, x, weight.t());
    return;
  }
  const int64_t columns = weight.size(0);
  at::parallel_for(0, columns, kColumnsPerThread, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;  // thread-local
    at::Tensor part = result.narrow(1, begin, end - begin);
    at::mm_out(part, x, weight.narrow(0, begin, end - begin).t());
  });
}

at::Tensor BatchedMatmul(const at::Tensor& x, const at::Tensor& y) {
  if (!x.device().is_cpu()) return at::bmm(x, y);
  at::Tensor result = at::empty({x.size(0), x.size(1), y.size(2)}, x.options());
  at::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;  // thread-local
    for (int64_t i = begin; i < end; ++i) {
      at::Tensor part = result.select(0, i);
      at::mm_out(part, x.select(0, i), y.select(0, i));
    }
  });
  return result;
}

}  // namespace olmoe::ops
