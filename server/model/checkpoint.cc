#include "server/model/checkpoint.h"

#include <filesystem>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/model/checkpoint_files.h"
#include "server/util/file_errors.h"

namespace olmoe::model {
namespace {

constexpr char kConfigFile[] = "config.json";
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
  return config;
}

absl::Status CheckTensor(const SafetensorsFile& file, const SafetensorsEntry& entry,
                         const TensorSpec& spec) {
  if (entry.shape != spec.shape) {
    return InvalidTensor(file.path(), entry.name,
                         absl::StrCat("shape ", ShapeText(entry.shape), ", expected ",
                                      ShapeText(spec.shape), " by ", kConfigFile));
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
  explicit TensorMatcher(std::vector<TensorSpec> layout) : layout_(std::move(layout)) {
    for (const TensorSpec& spec : layout_) specs_.emplace(spec.name, &spec);
  }

  absl::Status Match(const SafetensorsFile& file) {
    for (const SafetensorsEntry& entry : file.entries()) {
      const auto found = specs_.find(entry.name);
      if (found == specs_.end()) {
        return InvalidTensor(file.path(), entry.name,
                             absl::StrCat("unknown: not among the ", layout_.size(),
                                          " tensors that ", kConfigFile, " implies"));
      }
      const TensorSpec& spec = *found->second;
      const absl::Status status = CheckTensor(file, entry, spec);
      if (!status.ok()) return status;
      tensors_.push_back({entry.name, entry.dtype, entry.shape, spec.role, spec.layer, spec.expert,
                          file.path(), entry.offset, entry.bytes});
    }
    return absl::OkStatus();
  }

  // After all files. Names are unique, so what was not counted is missing.
  absl::Status CheckComplete(const std::string& folder) const {
    absl::flat_hash_set<std::string_view> present;
    for (const TensorInfo& tensor : tensors_) present.insert(tensor.name);
    std::vector<std::string> missing;
    for (const TensorSpec& spec : layout_) {
      if (!spec.optional && !present.contains(spec.name)) missing.push_back(spec.name);
    }
    if (missing.empty()) return absl::OkStatus();
    return InvalidFile(folder, absl::StrCat("tensors that ", kConfigFile,
                                            " implies are missing: ", ListText(missing)));
  }

  std::vector<TensorInfo> TakeTensors() { return std::move(tensors_); }

 private:
  const std::vector<TensorSpec> layout_;
  absl::flat_hash_map<std::string_view, const TensorSpec*> specs_;  // into layout_
  std::vector<TensorInfo> tensors_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& folder) {
  const absl::StatusOr<OlmoeConfig> config = ReadConfig(folder);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::vector<std::unique_ptr<SafetensorsFile>>> files = OpenCheckpointFiles(folder);
  if (!files.ok()) return files.status();

  TensorMatcher matcher(CheckpointLayout(*config));
  for (const auto& file : *files) {
    const absl::Status status = matcher.Match(*file);
    if (!status.ok()) return status;
  }
  const absl::Status status = matcher.CheckComplete(folder);
  if (!status.ok()) return status;

  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->folder_ = folder;
  checkpoint->config_ = *config;
  checkpoint->files_ = *std::move(files);
  checkpoint->tensors_ = matcher.TakeTensors();
  return checkpoint;
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

}  // namespace olmoe::model
