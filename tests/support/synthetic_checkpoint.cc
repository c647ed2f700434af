#include "tests/support/synthetic_checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "server/model/checkpoint_layout.h"
#include "server/util/safetensors_writer.h"
#include "tests/support/synthetic_weights.h"

namespace olmoe::testing {
namespace {

using model::OlmoeConfig;
using model::TensorSpec;

constexpr size_t kBlockBytes = 4 << 20;
constexpr char kIndexFile[] = "model.safetensors.index.json";

absl::Status ErrnoAt(const std::string& path, const char* what) {
  const int error = errno;
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot ", what));
}

std::string PathIn(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

uint64_t BytesOf(const TensorSpec& spec, DType dtype) {
  return TensorBytes(dtype, spec.shape).value();
}

// A file being written at given positions. Owns the descriptor. Thread-safe.
class ShardFile {
 public:
  static absl::StatusOr<std::unique_ptr<ShardFile>> Create(const std::string& path,
                                                           uint64_t bytes) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoAt(path, "create");
    std::unique_ptr<ShardFile> file(new ShardFile(path, fd));
    // A full disk is found here, not after minutes.
    errno = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    if (errno != 0) return ErrnoAt(path, "reserve space");
    return file;
  }
  ~ShardFile() { close(fd_); }
  ShardFile(const ShardFile&) = delete;
  ShardFile& operator=(const ShardFile&) = delete;

  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> data) const {
    while (!data.empty()) {
      const ssize_t written = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoAt(path_, "write");
      offset += static_cast<uint64_t>(written);
      data = data.subspan(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

 private:
  ShardFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::string path_;
  const int fd_;
};

// A tensor and its place.
struct PlacedTensor {
  TensorSpec spec;
  uint64_t bytes = 0;
  uint64_t offset = 0;              // in the file
  const ShardFile* file = nullptr;  // owned by the writer
};

using Shard = std::vector<PlacedTensor>;

// Writes one checkpoint. Thread-compatible; its own threads share what is marked so.
class CheckpointWriter {
 public:
  CheckpointWriter(const std::string& folder, const SyntheticCheckpointOptions& options)
      : folder_(folder), options_(options) {}

  absl::Status Write() {
    absl::Status status = MakeFolder();
    if (!status.ok()) return status;
    PlaceTensors();
    status = CreateShards();
    if (status.ok()) status = WriteTensors();
    if (status.ok() && shards_.size() > 1) {
      status = WriteText(kIndexFile, IndexJson());
    }
    if (status.ok()) status = CopyTokenizer();
    if (status.ok()) {
      status = WriteText("config.json", ConfigJson(options_.config, options_.dtype));
    }
    return status;
  }

 private:
  // Nothing is overwritten, and no file of another checkpoint stays beside the new ones.
  absl::Status MakeFolder() const {
    std::error_code error;
    std::filesystem::create_directories(folder_, error);
    if (error) return absl::InternalError(absl::StrCat(folder_, ": ", error.message()));
    for (const char* name : {"config.json", "model.safetensors", kIndexFile}) {
      const std::string path = PathIn(folder_, name);
      if (std::filesystem::exists(path, error)) {
        return absl::AlreadyExistsError(absl::StrCat(path, ": exists; remove it first"));
      }
    }
    return absl::OkStatus();
  }

  // Cuts the layout, in the model's order, into shards.
  void PlaceTensors() {
    std::vector<TensorSpec> layout = model::CheckpointLayout(options_.config);
    std::erase_if(layout, [](const TensorSpec& spec) {
      return spec.optional && spec.role == model::TensorRole::kHead;
    });
    for (const TensorSpec& spec : layout) total_bytes_ += BytesOf(spec, options_.dtype);
    uint64_t placed_bytes = 0;
    uint64_t shard_bytes = 0;
    for (size_t i = 0; i < layout.size(); ++i) {
      const uint64_t bytes = BytesOf(layout[i], options_.dtype);
      if (shards_.empty() || StartsShard(layout.size() - i, placed_bytes, shard_bytes + bytes)) {
        shards_.emplace_back();
        shard_bytes = 0;
      }
      shards_.back().push_back({.spec = std::move(layout[i]), .bytes = bytes});
      placed_bytes += bytes;
      shard_bytes += bytes;
    }
  }

  // Whether the next tensor opens another shard: `tensors_left` counts it, `placed_bytes`
  // lie before it, and with it the last shard would have `shard_bytes`.
  bool StartsShard(size_t tensors_left, uint64_t placed_bytes, uint64_t shard_bytes) const {
    if (options_.num_shards == 0) return shard_bytes > options_.max_shard_bytes;
    const auto wanted = static_cast<uint64_t>(options_.num_shards);
    const uint64_t shards_left = wanted - std::min<uint64_t>(wanted, shards_.size());
    if (shards_left == 0) return false;
    return placed_bytes >= total_bytes_ / wanted * shards_.size() || tensors_left <= shards_left;
  }

  std::string ShardName(size_t index) const {
    if (shards_.size() == 1) return "model.safetensors";
    return absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, shards_.size());
  }

  absl::Status CreateShards() {
    for (size_t i = 0; i < shards_.size(); ++i) {
      const std::string start = PlaceInFile(&shards_[i]);
      const uint64_t bytes = shards_[i].back().offset + shards_[i].back().bytes;
      absl::StatusOr<std::unique_ptr<ShardFile>> file =
          ShardFile::Create(PathIn(folder_, ShardName(i)), bytes);
      if (!file.ok()) return file.status();
      const absl::Status status = (*file)->WriteAt(0, std::as_bytes(std::span(start)));
      if (!status.ok()) return status;
      for (PlacedTensor& tensor : shards_[i]) tensor.file = file->get();
      files_.push_back(*std::move(file));
    }
    return absl::OkStatus();
  }

  // Sorts the tensors by name and gives what the file begins with.
  std::string PlaceInFile(Shard* shard) const {
    std::sort(shard->begin(), shard->end(),
              [](const auto& a, const auto& b) { return a.spec.name < b.spec.name; });
    std::vector<SafetensorsEntry> entries;
    for (const PlacedTensor& tensor : *shard) {
      entries.push_back(
          {.name = tensor.spec.name, .dtype = options_.dtype, .shape = tensor.spec.shape});
    }
    std::string start = SafetensorsStart({{"format", "pt"}}, &entries);
    for (size_t i = 0; i < entries.size(); ++i) (*shard)[i].offset = entries[i].offset;
    return start;
  }

  absl::Status WriteTensors() {
    for (const Shard& shard : shards_) {
      for (const PlacedTensor& tensor : shard) queue_.push_back(&tensor);
    }
    std::vector<std::thread> threads;
    for (int i = 1; i < options_.num_threads; ++i) {
      threads.emplace_back([this] { WriteFromQueue(/*report=*/false); });
    }
    WriteFromQueue(/*report=*/true);
    for (std::thread& thread : threads) thread.join();
    absl::MutexLock lock(&mu_);
    if (status_.ok() && options_.progress) options_.progress(total_bytes_, total_bytes_);
    return status_;
  }

  void WriteFromQueue(bool report) {
    std::vector<std::byte> block(kBlockBytes);
    while (true) {
      const size_t next = next_.fetch_add(1, std::memory_order_relaxed);
      if (next >= queue_.size()) return;
      const absl::Status status = WriteTensor(*queue_[next], block, report);
      if (status.ok()) continue;
      next_.store(queue_.size(), std::memory_order_relaxed);
      absl::MutexLock lock(&mu_);
      status_.Update(status);
      return;
    }
  }

  absl::Status WriteTensor(const PlacedTensor& tensor, std::span<std::byte> block, bool report) {
    const SyntheticWeights weights(options_.config, tensor.spec, options_.dtype, options_.seed);
    const uint64_t element_bytes = DTypeBytes(options_.dtype);
    for (uint64_t done = 0; done < tensor.bytes; done += block.size()) {
      const std::span<std::byte> part =
          block.first(std::min<uint64_t>(block.size(), tensor.bytes - done));
      weights.Fill(done / element_bytes, part);
      const absl::Status status = tensor.file->WriteAt(tensor.offset + done, part);
      if (!status.ok()) return status;
      done_bytes_.fetch_add(part.size(), std::memory_order_relaxed);
      if (report) ReportProgress();
    }
    return absl::OkStatus();
  }

  void ReportProgress() {
    if (!options_.progress || absl::Now() - last_report_ < absl::Milliseconds(100)) return;
    last_report_ = absl::Now();
    options_.progress(done_bytes_.load(std::memory_order_relaxed), total_bytes_);
  }

  std::string IndexJson() const {
    nlohmann::ordered_json index;
    index["metadata"]["total_size"] = total_bytes_;
    nlohmann::json weight_map;  // sorted by key
    for (size_t i = 0; i < shards_.size(); ++i) {
      for (const PlacedTensor& tensor : shards_[i]) weight_map[tensor.spec.name] = ShardName(i);
    }
    index["weight_map"] = std::move(weight_map);
    return index.dump(2) + "\n";
  }

  absl::Status WriteText(const std::string& name, const std::string& text) const {
    const std::string path = PathIn(folder_, name);
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    return file ? absl::OkStatus() : absl::InternalError(absl::StrCat(path, ": cannot write"));
  }

  absl::Status CopyTokenizer() const {
    if (options_.tokenizer_file.empty()) return absl::OkStatus();
    std::error_code error;
    std::filesystem::copy_file(options_.tokenizer_file, PathIn(folder_, "tokenizer.json"),
                               std::filesystem::copy_options::overwrite_existing, error);
    if (!error) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat(options_.tokenizer_file, ": cannot copy: ", error.message()));
  }

  const std::string folder_;
  const SyntheticCheckpointOptions& options_;

  // Constant while the threads run.
  std::vector<Shard> shards_;
  std::vector<std::unique_ptr<ShardFile>> files_;
  std::vector<const PlacedTensor*> queue_;
  uint64_t total_bytes_ = 0;

  // Shared by the threads.
  std::atomic<size_t> next_ = 0;  // in queue_
  std::atomic<uint64_t> done_bytes_ = 0;
  absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);

  absl::Time last_report_ = absl::InfinitePast();  // calling thread only
};

}  // namespace

absl::Status WriteSyntheticCheckpoint(const std::string& folder,
                                      const SyntheticCheckpointOptions& options) {
  return CheckpointWriter(folder, options).Write();
}

}  // namespace olmoe::testing
