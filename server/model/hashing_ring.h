#ifndef OLMOE_SERVER_MODEL_HASHING_RING_H_
#define OLMOE_SERVER_MODEL_HASHING_RING_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/util/sha256.h"

namespace olmoe::model {

// A ring of equal buffers through which a file is read once, while a thread of its own
// hashes what was read before. A buffer goes round: Acquire (free, the reader fills
// it), Submit (the hashing thread reads it, and so may the reader), free again.
// Used by one reading thread.
class HashingRing {
 public:
  explicit HashingRing(size_t buffer_bytes);
  // Waits for the hashing thread.
  ~HashingRing();
  HashingRing(const HashingRing&) = delete;
  HashingRing& operator=(const HashingRing&) = delete;

  // The next buffer, aligned for every element type; waits until it is free. What was
  // in the buffers acquired before stays readable until they come round.
  std::span<std::byte> Acquire();
  // Hashes the first `bytes` of the buffer acquired last. Nothing may write to it until
  // it is acquired again.
  void Submit(size_t bytes);

  // SHA-256 of all that was submitted, in hexadecimal. Call once, last.
  std::string Finish();

 private:
  static constexpr size_t kBuffers = 4;

  struct Buffer {
    std::unique_ptr<std::byte[]> data;  // [buffer_bytes_]
    size_t bytes = 0;                   // submitted
  };

  void HashUntilClosed();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return hashed_ < submitted_ || closed_;
  }
  bool HasFreeBuffer() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return submitted_ - hashed_ < kBuffers;
  }
  void Close();

  // Constant after construction.
  const size_t buffer_bytes_;

  // Buffer i % kBuffers holds submission i. The reader owns it before the submission,
  // the hashing thread until the submission is hashed.
  std::array<Buffer, kBuffers> buffers_;

  absl::Mutex mu_;
  uint64_t submitted_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t hashed_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;

  // Hashing thread only, until it is joined.
  Sha256 sha_;
  std::thread hasher_;
};

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_HASHING_RING_H_
