#include "server/ops/cpu/step_memory.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace olmoe::ops {
namespace {

constexpr size_t kSmallest = 4096;
constexpr size_t kBufferBytes = 4 << 20;

}  // namespace

StepMemory::Block StepMemory::Take(size_t bytes) {
  int size = 0;
  while ((kSmallest << size) < bytes) {
    if (++size == kSizes) throw std::bad_alloc();
  }
  std::vector<Slab*>& free = free_[size];
  if (free.empty()) {
    auto slab = std::make_unique<Slab>();
    slab->data = TakeFromSystem(kSmallest << size);
    slab->home = &free;
    slabs_.push_back(std::move(slab));
    free.push_back(slabs_.back().get());
  }
  Slab* slab = free.back();
  free.pop_back();
  if (poison_) std::memset(slab->data, 0xff, kSmallest << size);
  return Block(slab);
}

// Small blocks share a buffer.
std::byte* StepMemory::TakeFromSystem(size_t bytes) {
  if (bytes > rest_of_buffer_) {
    HugeBuffer buffer(std::max(bytes, kBufferBytes));
    bytes_from_system_ += buffer.bytes();
    rest_of_buffer_ = buffer.bytes();
    buffers_.push_back(std::move(buffer));
  }
  const HugeBuffer& buffer = buffers_.back();
  std::byte* data = buffer.data() + (buffer.bytes() - rest_of_buffer_);
  rest_of_buffer_ -= bytes;
  return data;
}

}  // namespace olmoe::ops
