#ifndef OLMOE_SERVER_OPS_CPU_HUGE_BUFFER_H_
#define OLMOE_SERVER_OPS_CPU_HUGE_BUFFER_H_

#include <cstddef>

namespace olmoe::ops {

// Memory that is streamed once a step: weights, keys and values, activations. It begins at
// a page boundary, is zero at first, and lies in 2 MiB pages where it is that large: with
// 4 KiB pages the address translation costs up to an eighth of the bandwidth. Pages are
// taken by the first write. Movable, not copyable. Thread-compatible.
class HugeBuffer {
 public:
  HugeBuffer() = default;
  // Throws std::bad_alloc where the system refuses.
  explicit HugeBuffer(size_t bytes);
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;
  ~HugeBuffer();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;  // as asked for
  size_t mapped_bytes_ = 0;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_HUGE_BUFFER_H_
