#include "server/model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <span>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "server/model/checkpoint_files.h"
#include "server/util/file_errors.h"

namespace olmoe::model {
namespace {

constexpr char kConfigFile[] = "config.json";
constexpr char kGenerationConfigFile[] = "generation_config.json";
constexpr char kTokenizerFile[] = "tokenizer.json";
constexpr uint64_t kMaxConfigBytes = 1 << 20;

std::string PathIn(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

absl::StatusOr<OlmoeConfig> ReadConfig(const std::string& folder) {
  const std::string path = PathIn(folder, kConfigFile);
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<OlmoeConfig> config = OlmoeConfig::FromJson(*text);
  if (!config.ok()) return WithPath(path, config.status());
  const std::string generation_path = PathIn(folder, kGenerationConfigFile);
  const absl::StatusOr<std::string> generation = ReadSmallFile(generation_path, kMaxConfigBytes);
  if (absl::IsNotFound(generation.status())) return config;
  if (!generation.ok()) return generation.status();
  const absl::Status status = config->TakeGenerationConfig(*generation);
  if (!status.ok()) return WithPath(generation_path, status);
  return config;
}

absl::Status CheckTensor(const SafetensorsFile& file, const SafetensorsEntry& entry,
                         const std::vector<int64_t>& shape) {
  if (entry.shape != shape) {
    return InvalidTensor(file.path(), entry.name,
                         absl::StrCat("shape ", ShapeText(entry.shape), ", expected ",
                                      ShapeText(shape), " by ", kConfigFile));
  }
  if (!IsWeightDType(entry.dtype)) {
    return InvalidTensor(
        file.path(), entry.name,
        absl::StrCat("dtype ", std::string(DTypeName(entry.dtype)), ", expected BF16, F16 or F32"));
  }
  return absl::OkStatus();
}

// Matches what the files hold with what config.json implies. Thread-compatible.
class TensorMatcher {
 public:
  explicit TensorMatcher(const OlmoeConfig& config)
      : layout_(CheckpointLayout(config)), fused_experts_(FusedExpertTensors(config)) {
    for (const TensorSpec& spec : layout_) specs_.emplace(spec.name, &spec);
    for (const FusedExperts& experts : fused_experts_) fused_.emplace(experts.name, &experts);
  }

  absl::Status Match(const SafetensorsFile& file) {
    for (const SafetensorsEntry& entry : file.entries()) {
      const absl::Status status = MatchEntry(file, entry);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // After all files.
  absl::Status CheckComplete(const std::string& folder) const {
    std::vector<std::string> missing;
    for (const TensorSpec& spec : layout_) {
      if (!spec.optional && !files_.contains(spec.name)) missing.push_back(spec.name);
    }
    if (missing.empty()) return absl::OkStatus();
    return InvalidFile(folder, absl::StrCat("tensors that ", kConfigFile,
                                            " implies are missing: ", ListText(missing)));
  }

  std::vector<TensorInfo> TakeTensors() { return std::move(tensors_); }

 private:
  absl::Status MatchEntry(const SafetensorsFile& file, const SafetensorsEntry& entry) {
    if (const auto found = specs_.find(entry.name); found != specs_.end()) {
      const absl::Status status = CheckTensor(file, entry, found->second->shape);
      return status.ok() ? Add(file, entry, *found->second, entry.offset) : status;
    }
    if (const auto found = fused_.find(entry.name); found != fused_.end()) {
      const absl::Status status = CheckTensor(file, entry, found->second->shape);
      return status.ok() ? AddParts(file, entry, *found->second) : status;
    }
    if (IsDroppedTensor(entry.name)) {
      tensors_.push_back({.name = entry.name,
                          .dtype = entry.dtype,
                          .shape = entry.shape,
                          .role = TensorRole::kUnused,
                          .file = file.path(),
                          .offset = entry.offset,
                          .bytes = entry.bytes});
      return absl::OkStatus();
    }
    return InvalidTensor(file.path(), entry.name,
                         absl::StrCat("unknown: not among the ", layout_.size(), " tensors that ",
                                      kConfigFile, " implies"));
  }

  absl::Status AddParts(const SafetensorsFile& file, const SafetensorsEntry& entry,
                        const FusedExperts& experts) {
    size_t offset = entry.offset;
    for (const std::string& part : experts.parts) {
      const absl::Status status = Add(file, entry, *specs_.at(part), offset);
      if (!status.ok()) return status;
      offset += tensors_.back().bytes;
    }
    return absl::OkStatus();
  }

  absl::Status Add(const SafetensorsFile& file, const SafetensorsEntry& entry,
                   const TensorSpec& spec, size_t offset) {
    const auto [earlier, is_new] = files_.emplace(spec.name, file.path());
    if (!is_new) {
      return InvalidTensor(
          file.path(), entry.name,
          absl::StrCat(spec.name, " is there a second time: ", earlier->second, " has it, too"));
    }
    // The layout's sizes are bounded, so there is a number of bytes.
    tensors_.push_back({spec.name, entry.dtype, spec.shape, spec.role, spec.layer, spec.expert,
                        file.path(), offset, *TensorBytes(entry.dtype, spec.shape)});
    return absl::OkStatus();
  }

  const std::vector<TensorSpec> layout_;
  const std::vector<FusedExperts> fused_experts_;
  absl::flat_hash_map<std::string_view, const TensorSpec*> specs_;   // into layout_
  absl::flat_hash_map<std::string_view, const FusedExperts*> fused_;  // into fused_experts_
  absl::flat_hash_map<std::string_view, std::string> files_;  // of the tensors found; into layout_
  std::vector<TensorInfo> tensors_;
};

// Whether two tensors are the same bytes of one type.
absl::StatusOr<bool> AreEqual(const FileReader& file_a, const TensorInfo& a,
                              const FileReader& file_b, const TensorInfo& b) {
  constexpr size_t kBlockBytes = 1 << 20;
  if (a.dtype != b.dtype || a.bytes != b.bytes) return false;
  std::vector<std::byte> block_a(kBlockBytes), block_b(kBlockBytes);
  for (size_t done = 0; done < a.bytes; done += kBlockBytes) {
    const size_t size = std::min(kBlockBytes, a.bytes - done);
    absl::Status status = file_a.ReadAt(a.offset + done, std::span(block_a).first(size));
    if (status.ok()) status = file_b.ReadAt(b.offset + done, std::span(block_b).first(size));
    if (!status.ok()) return status;
    if (std::memcmp(block_a.data(), block_b.data(), size) != 0) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& folder) {
  const absl::StatusOr<OlmoeConfig> config = ReadConfig(folder);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::vector<std::unique_ptr<SafetensorsFile>>> files = OpenCheckpointFiles(folder);
  if (!files.ok()) return files.status();

  TensorMatcher matcher(*config);
  for (const auto& file : *files) {
    const absl::Status status = matcher.Match(*file);
    if (!status.ok()) return status;
  }
  absl::Status status = matcher.CheckComplete(folder);
  if (!status.ok()) return status;

  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->folder_ = folder;
  checkpoint->config_ = *config;
  checkpoint->files_ = *std::move(files);
  checkpoint->tensors_ = matcher.TakeTensors();
  status = checkpoint->ResolveTiedHead();
  if (!status.ok()) return status;
  return checkpoint;
}

absl::Status Checkpoint::ResolveTiedHead() {
  if (!config_.tie_word_embeddings) return absl::OkStatus();
  const auto find = [this](TensorRole role) {
    return std::find_if(tensors_.begin(), tensors_.end(),
                        [role](const TensorInfo& tensor) { return tensor.role == role; });
  };
  const auto embedding = find(TensorRole::kEmbedding), head = find(TensorRole::kHead);
  if (head == tensors_.end() && embedding != tensors_.end()) return absl::OkStatus();
  if (head == tensors_.end()) {
    return InvalidFile(folder_, "has neither model.embed_tokens.weight nor lm_head.weight");
  }
  if (embedding == tensors_.end()) {
    head->role = TensorRole::kEmbedding;
    return absl::OkStatus();
  }
  const auto reader_of = [this](const TensorInfo& tensor) -> const FileReader& {
    return (*std::find_if(files_.begin(), files_.end(),
                          [&](const auto& file) { return file->path() == tensor.file; }))
        ->reader();
  };
  const absl::StatusOr<bool> equal =
      AreEqual(reader_of(*embedding), *embedding, reader_of(*head), *head);
  if (!equal.ok()) return equal.status();
  if (*equal) {
    head->role = TensorRole::kUnused;
    return absl::OkStatus();
  }
  config_.tie_word_embeddings = false;
  warnings_.push_back(
      absl::StrCat(PathIn(folder_, kConfigFile), ": tie_word_embeddings is true, but ", head->name,
                   " and ", embedding->name,
                   " differ: they are not tied, as in transformers (false silences this warning)"));
  return absl::OkStatus();
}

size_t Checkpoint::total_bytes() const {
  size_t total = 0;
  for (const auto& file : files_) total += file->reader().size_bytes();
  return total;
}

bool Checkpoint::has_tokenizer() const {
  std::error_code ignored;
  return std::filesystem::is_regular_file(tokenizer_path(), ignored);
}

std::string Checkpoint::tokenizer_path() const { return PathIn(folder_, kTokenizerFile); }

absl::StatusOr<SamplingParams> ReadSamplingDefaults(const std::string& folder) {
  const std::string path = PathIn(folder, kGenerationConfigFile);
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return SamplingParams();
  if (!text.ok()) return text.status();
  const absl::StatusOr<SamplingParams> defaults = ParseSamplingDefaults(*text);
  if (!defaults.ok()) return WithPath(path, defaults.status());
  return defaults;
}

}  // namespace olmoe::model
