#include "server/model/hashing_ring.h"

#include "glog/logging.h"

namespace olmoe::model {

HashingRing::HashingRing(size_t buffer_bytes) : buffer_bytes_(buffer_bytes) {
  for (Buffer& buffer : buffers_) {
    buffer.data = std::make_unique_for_overwrite<std::byte[]>(buffer_bytes);
  }
  hasher_ = std::thread([this] { HashUntilClosed(); });
}

HashingRing::~HashingRing() { Close(); }

std::span<std::byte> HashingRing::Acquire() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &HashingRing::HasFreeBuffer));
  return {buffers_[submitted_ % kBuffers].data.get(), buffer_bytes_};
}

void HashingRing::Submit(size_t bytes) {
  CHECK_LE(bytes, buffer_bytes_);
  absl::MutexLock lock(&mu_);
  buffers_[submitted_ % kBuffers].bytes = bytes;
  ++submitted_;
}

std::string HashingRing::Finish() {
  Close();
  return sha_.HexDigest();
}

void HashingRing::Close() {
  {
    absl::MutexLock lock(&mu_);
    closed_ = true;
  }
  if (hasher_.joinable()) hasher_.join();
}

void HashingRing::HashUntilClosed() {
  while (true) {
    const Buffer* buffer = nullptr;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &HashingRing::HasWork));
      if (hashed_ == submitted_) return;
      buffer = &buffers_[hashed_ % kBuffers];
    }
    sha_.Update(buffer->data.get(), buffer->bytes);
    absl::MutexLock lock(&mu_);
    ++hashed_;
  }
}

}  // namespace olmoe::model
