#include "server/model/checkpoint_files.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/model/checkpoint_index.h"
#include "server/util/file_errors.h"

namespace olmoe::model {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = 64 << 20;

using Files = std::vector<std::unique_ptr<SafetensorsFile>>;

std::string PathIn(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

absl::StatusOr<CheckpointIndex> ReadIndex(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxIndexBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<CheckpointIndex> index = CheckpointIndex::FromJson(*text);
  if (!index.ok()) return WithPath(path, index.status());
  return index;
}

absl::Status CheckShardsExist(const std::string& folder, const CheckpointIndex& index) {
  std::vector<std::string> missing;
  for (const std::string& shard : index.shards) {
    if (!Exists(PathIn(folder, shard))) missing.push_back(shard);
  }
  if (missing.empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(PathIn(folder, kIndexFile), ": names ",
                                          index.shards.size(), " shards, missing: ",
                                          ListText(missing)));
}

absl::StatusOr<Files> OpenAll(const std::string& folder, const std::vector<std::string>& names) {
  Files files;
  for (const std::string& name : names) {
    absl::StatusOr<std::unique_ptr<SafetensorsFile>> file =
        SafetensorsFile::Open(PathIn(folder, name));
    if (!file.ok()) return file.status();
    files.push_back(*std::move(file));
  }
  return files;
}

// What the shard holds, the index places there.
absl::Status CheckPlaced(const CheckpointIndex& index, const std::string& shard,
                         const SafetensorsFile& file) {
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto placed = index.shard_of.find(entry.name);
    if (placed == index.shard_of.end()) {
      return InvalidTensor(file.path(), entry.name, absl::StrCat("is not in ", kIndexFile));
    }
    if (placed->second != shard) {
      return InvalidTensor(file.path(), entry.name,
                           absl::StrCat(kIndexFile, " places it in ", placed->second));
    }
  }
  return absl::OkStatus();
}

// What the index places, a shard holds.
absl::Status CheckPresent(const std::string& folder, const CheckpointIndex& index,
                          const Files& files) {
  absl::flat_hash_set<std::string_view> present;
  for (const auto& file : files) {
    for (const SafetensorsEntry& entry : file->entries()) present.insert(entry.name);
  }
  std::vector<std::string> absent;
  for (const auto& [tensor, shard] : index.shard_of) {
    if (!present.contains(tensor)) absent.push_back(tensor);
  }
  if (absent.empty()) return absl::OkStatus();
  std::sort(absent.begin(), absent.end());
  return InvalidFile(PathIn(folder, index.shard_of.at(absent.front())),
                     absl::StrCat("lacks tensors that ", kIndexFile, " places there: ",
                                  ListText(absent)));
}

absl::StatusOr<Files> OpenSharded(const std::string& folder) {
  const absl::StatusOr<CheckpointIndex> index = ReadIndex(PathIn(folder, kIndexFile));
  if (!index.ok()) return index.status();
  absl::Status status = CheckShardsExist(folder, *index);
  if (!status.ok()) return status;
  absl::StatusOr<Files> files = OpenAll(folder, index->shards);
  if (!files.ok()) return files.status();
  for (size_t i = 0; i < files->size(); ++i) {
    status = CheckPlaced(*index, index->shards[i], *(*files)[i]);
    if (!status.ok()) return status;
  }
  status = CheckPresent(folder, *index, *files);
  if (!status.ok()) return status;
  return files;
}

}  // namespace

absl::StatusOr<Files> OpenCheckpointFiles(const std::string& folder) {
  if (Exists(PathIn(folder, kSingleFile))) return OpenAll(folder, {kSingleFile});
  if (Exists(PathIn(folder, kIndexFile))) return OpenSharded(folder);
  return absl::NotFoundError(
      absl::StrCat(folder, ": has neither ", kSingleFile, " nor ", kIndexFile));
}

}  // namespace olmoe::model
