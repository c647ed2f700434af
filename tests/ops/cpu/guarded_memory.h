#ifndef OLMOE_TESTS_OPS_CPU_GUARDED_MEMORY_H_
#define OLMOE_TESTS_OPS_CPU_GUARDED_MEMORY_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "glog/logging.h"

namespace olmoe::ops {

// Memory whose end lies at a page that must not be touched, and whose begin lies behind
// one, as near as its alignment allows. Vector and tile loads that leave it crash; no
// sanitizer sees those. Filled with 0xff: NaN as float32 and as bfloat16. Thread-compatible.
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes, size_t alignment = 4) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inside = (bytes + page - 1) / page * page;
    mapped_ = inside + 2 * page;
    void* memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    begin_ = static_cast<std::byte*>(memory);
    CHECK_EQ(mprotect(begin_ + page, inside, PROT_READ | PROT_WRITE), 0);
    data_ = begin_ + page + (inside - bytes) / alignment * alignment;
    size_ = bytes;
    Poison();
  }
  ~GuardedMemory() { munmap(begin_, mapped_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  void Poison() { std::memset(data_, 0xff, size_); }

  void* data() const { return data_; }
  size_t size() const { return size_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  uint16_t* halves() const { return reinterpret_cast<uint16_t*>(data_); }

 private:
  std::byte* begin_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace olmoe::ops

#endif  // OLMOE_TESTS_OPS_CPU_GUARDED_MEMORY_H_
