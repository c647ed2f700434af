#include "server/ops/cpu/huge_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <utility>

namespace olmoe::ops {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kHugePageBytes = 2 << 20;

size_t RoundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

std::byte* Map(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

// mmap aligns to small pages only: map more, and give back what is around.
std::byte* MapAligned(size_t bytes) {
  std::byte* memory = Map(bytes + kHugePageBytes);
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory);
  const size_t before = RoundUp(address, kHugePageBytes) - address;
  if (before > 0) munmap(memory, before);
  munmap(memory + before + bytes, kHugePageBytes - before);
  madvise(memory + before, bytes, MADV_HUGEPAGE);
  return memory + before;
}

}  // namespace

HugeBuffer::HugeBuffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes > SIZE_MAX - 2 * kHugePageBytes) throw std::bad_alloc();
  const bool huge = bytes >= kHugePageBytes;
  mapped_bytes_ = RoundUp(bytes, huge ? kHugePageBytes : kPageBytes);
  data_ = huge ? MapAligned(mapped_bytes_) : Map(mapped_bytes_);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) munmap(data_, mapped_bytes_);
}

}  // namespace olmoe::ops
