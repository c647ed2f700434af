#include "server/ops/aten/weight_memory.h"

#include <ATen/ATen.h>
#include <sys/mman.h>

#include <functional>
#include <numeric>

namespace olmoe::ops {
namespace {

constexpr size_t kHugePageBytes = 2 << 20;

}  // namespace

at::Tensor NewWeight(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const int64_t elements = std::accumulate(sizes.begin(), sizes.end(), int64_t{1},
                                           std::multiplies<int64_t>());
  const size_t bytes = static_cast<size_t>(elements) * options.dtype().itemsize();
  if (!options.device().is_cpu() || bytes < kHugePageBytes) return at::empty(sizes, options);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  // ATen's allocator then says what is wrong.
  if (memory == MAP_FAILED) return at::empty(sizes, options);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return at::from_blob(memory, sizes, [bytes](void* data) { munmap(data, bytes); }, options);
}

}  // namespace olmoe::ops
