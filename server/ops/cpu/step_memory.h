#ifndef OLMOE_SERVER_OPS_CPU_STEP_MEMORY_H_
#define OLMOE_SERVER_OPS_CPU_STEP_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "server/ops/cpu/huge_buffer.h"

namespace olmoe::ops {

// Where the activations of a step live. A block that is let go is the first to be handed
// out again, while it is still in the caches; after some steps nothing is taken from the
// system any more. Sizes are rounded up to powers of two, each with a list of its own, so
// that steps of other sizes find what they need. A Block keeps its memory until the last
// copy of it is gone, and must not outlive the StepMemory. Not initialized: what was
// there before. Thread-compatible, with all its blocks.
class StepMemory {
 private:
  struct Slab {
    std::byte* data = nullptr;
    int references = 0;
    std::vector<Slab*>* home = nullptr;  // the free list that it goes back to
  };

 public:
  class Block {
   public:
    Block() = default;
    Block(const Block& other) : slab_(other.slab_) {
      if (slab_ != nullptr) ++slab_->references;
    }
    Block(Block&& other) noexcept : slab_(std::exchange(other.slab_, nullptr)) {}
    Block& operator=(Block other) noexcept {
      std::swap(slab_, other.slab_);
      return *this;
    }
    ~Block() {
      if (slab_ != nullptr && --slab_->references == 0) slab_->home->push_back(slab_);
    }

    template <typename T>
    T* as() const {
      return reinterpret_cast<T*>(slab_->data);
    }

   private:
    friend class StepMemory;
    explicit Block(Slab* slab) : slab_(slab) { ++slab->references; }
    Slab* slab_ = nullptr;
  };

  StepMemory() = default;
  StepMemory(const StepMemory&) = delete;
  StepMemory& operator=(const StepMemory&) = delete;

  // At least `bytes`, at an address that is a multiple of 64. Throws std::bad_alloc.
  Block Take(size_t bytes);

  size_t bytes_from_system() const { return bytes_from_system_; }

  // From now on blocks are NaN in every format when they are handed out.
  void PoisonForTesting() { poison_ = true; }

 private:
  static constexpr int kSizes = 40;  // 4 KiB << size
  std::byte* TakeFromSystem(size_t bytes);

  std::vector<std::unique_ptr<Slab>> slabs_;
  std::vector<Slab*> free_[kSizes];
  std::vector<HugeBuffer> buffers_;
  size_t rest_of_buffer_ = 0;  // bytes at the end of the last one that are not handed out
  size_t bytes_from_system_ = 0;
  bool poison_ = false;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_STEP_MEMORY_H_
