#ifndef OLMOE_TESTS_OPS_CPU_GUARDED_H_
#define OLMOE_TESTS_OPS_CPU_GUARDED_H_

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "glog/logging.h"

namespace olmoe::ops {

// Which of its neighbours the elements lie against; but for what an alignment takes.
enum class Against { kPageBefore, kPageAfter };

// n elements between pages that cannot be touched: what is read or written outside ends
// the test, also by tile and masked instructions, which AddressSanitizer does not see.
// At first every byte is 0xff: NaN in every float format.
template <typename T>
class Guarded {
 public:
  explicit Guarded(size_t n, Against against = Against::kPageAfter, size_t alignment = alignof(T))
      : n_(n) {
    const size_t bytes = n * sizeof(T);
    mapped_ = (bytes + kPage - 1) / kPage * kPage + 2 * kPage;
    void* memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    base_ = static_cast<std::byte*>(memory);
    if (n > 0) CHECK_EQ(mprotect(base_ + kPage, mapped_ - 2 * kPage, PROT_READ | PROT_WRITE), 0);
    const size_t offset = (mapped_ - 2 * kPage - bytes) / alignment * alignment;
    data_ = base_ + kPage + (against == Against::kPageAfter ? offset : 0);
    if (n > 0) std::memset(base_ + kPage, 0xff, mapped_ - 2 * kPage);
  }
  Guarded(Guarded&& other) noexcept
      : n_(other.n_),
        mapped_(other.mapped_),
        base_(std::exchange(other.base_, nullptr)),
        data_(other.data_) {}
  Guarded& operator=(Guarded&&) = delete;
  ~Guarded() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  T* data() { return reinterpret_cast<T*>(data_); }
  const T* data() const { return reinterpret_cast<const T*>(data_); }
  size_t size() const { return n_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  std::span<const T> span() const { return {data(), n_}; }

 private:
  static constexpr size_t kPage = 4096;
  const size_t n_;
  size_t mapped_ = 0;
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace olmoe::ops

#endif  // OLMOE_TESTS_OPS_CPU_GUARDED_H_
