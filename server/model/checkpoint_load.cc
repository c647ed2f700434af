// The reading half of Checkpoint.
#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/model/checkpoint.h"
#include "server/model/convert.h"
#include "server/model/hashing_ring.h"
#include "server/util/sha256.h"

namespace olmoe::model {
namespace {

// Small enough for a block to be still in the second-level cache when it is converted
// and hashed, large enough that the calls to the kernel do not count. A multiple of
// every element size.
constexpr size_t kBlockBytes = 1 << 20;
constexpr absl::Duration kProgressInterval = absl::Milliseconds(100);

// Forwards to a callback, not too often. Thread-compatible.
class ProgressMeter {
 public:
  ProgressMeter(const Checkpoint::Progress& callback, size_t total_bytes)
      : callback_(callback), total_bytes_(total_bytes) {}

  void Advance(size_t bytes) {
    done_bytes_ += bytes;
    if (!callback_) return;
    const absl::Time now = absl::Now();
    if (done_bytes_ < total_bytes_ && now - last_call_ < kProgressInterval) return;
    last_call_ = now;
    callback_(done_bytes_, total_bytes_);
  }

 private:
  const Checkpoint::Progress& callback_;
  const size_t total_bytes_;
  size_t done_bytes_ = 0;
  absl::Time last_call_ = absl::Now();
};

}  // namespace

// One pass over the files. Every block goes to the hashing thread, and meanwhile is
// converted into its target. Thread-compatible.
class Checkpoint::Loader {
 public:
  Loader(const Checkpoint& checkpoint, const Destination& destination, const Progress& progress)
      : checkpoint_(checkpoint),
        destination_(destination),
        progress_(progress, checkpoint.total_bytes()),
        ring_(kBlockBytes) {}

  absl::StatusOr<std::string> Run() {
    auto tensor = checkpoint_.tensors_.begin();
    for (const auto& file : checkpoint_.files_) {
      const FileReader& reader = file->reader();
      reader.AdviseSequential();
      absl::Status status = ReadHeader(*file);
      // tensors() has the tensors of the files one after the other.
      for (; status.ok() && tensor != checkpoint_.tensors_.end() && tensor->file == file->path();
           ++tensor) {
        status = ReadTensor(reader, *tensor);
      }
      if (status.ok()) status = reader.CheckUnchanged();
      if (!status.ok()) return status;
    }
    return ring_.Finish();
  }

 private:
  absl::Status ReadHeader(const SafetensorsFile& file) {
    Sha256 sha;
    const absl::Status status = ReadBlocks(
        file.reader(), 0, file.data_offset(),
        [&](std::span<const std::byte> block) { sha.Update(block.data(), block.size()); });
    if (!status.ok() || sha.HexDigest() == file.header_digest()) return status;
    return absl::DataLossError(absl::StrCat(file.path(), ": the header changed since it was read"));
  }

  absl::Status ReadTensor(const FileReader& reader, const TensorInfo& tensor) {
    const Target target = destination_(tensor);
    const size_t element_bytes = DTypeBytes(tensor.dtype);
    auto* next = static_cast<std::byte*>(target.data);
    return ReadBlocks(reader, tensor.offset, tensor.bytes, [&](std::span<const std::byte> block) {
      if (next == nullptr) return;
      const size_t count = block.size() / element_bytes;
      ConvertElements(block.data(), tensor.dtype, next, target.dtype, count);
      next += count * DTypeBytes(target.dtype);
    });
  }

  // `use` runs on this thread while the hashing thread reads the same block.
  template <typename Use>
  absl::Status ReadBlocks(const FileReader& reader, size_t offset, size_t bytes, Use use) {
    while (bytes > 0) {
      const size_t size = std::min(bytes, kBlockBytes);
      const std::span<std::byte> block = ring_.Acquire().first(size);
      const absl::Status status = reader.ReadAt(offset, block);
      if (!status.ok()) return status;
      ring_.Submit(size);
      use(block);
      progress_.Advance(size);
      offset += size;
      bytes -= size;
    }
    return absl::OkStatus();
  }

  const Checkpoint& checkpoint_;
  const Destination& destination_;
  ProgressMeter progress_;
  HashingRing ring_;
};

absl::Status Checkpoint::Load(const Destination& destination, const Progress& progress) {
  weights_digest_.clear();
  absl::StatusOr<std::string> digest = Loader(*this, destination, progress).Run();
  if (!digest.ok()) return digest.status();
  weights_digest_ = *std::move(digest);
  return absl::OkStatus();
}

}  // namespace olmoe::model
