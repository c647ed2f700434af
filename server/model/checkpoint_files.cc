#include "server/model/checkpoint_files.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"

namespace olmoe::model {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr size_t kMaxShards = 256;  // each is kept open
constexpr size_t kMaxShardNameBytes = 128;

using Files = std::vector<std::unique_ptr<SafetensorsFile>>;

// model.safetensors.index.json: which shard holds which tensor.
struct CheckpointIndex {
  std::vector<std::string> shards;                         // file names, ascending, each once
  absl::flat_hash_map<std::string, std::string> shard_of;  // tensor -> file name
};

std::string PathIn(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Of a file in the checkpoint's own folder: '/', '..' and control characters are refused.
bool IsSafeShardName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  if (name.size() <= kSuffix.size() || name.size() > kMaxShardNameBytes) return false;
  if (!name.ends_with(kSuffix) || name.starts_with('.')) return false;
  if (name.find("..") != name.npos) return false;
  for (const char c : name) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c)) || c == '/' || c == '\\') return false;
  }
  return true;
}

// {tensor: shard}.
void ReadWeightMap(const JsonCursor& weight_map, CheckpointIndex* index) {
  std::set<std::string> shards;
  weight_map.ForEachField([&](const std::string& tensor, const JsonCursor& shard) {
    std::string name = shard.String();
    if (!shard.ok()) return;
    if (!IsSafeShardName(name)) {
      shard.Fail(
          absl::StrCat("shard ", Quoted(name), " is not the plain name of a .safetensors file"));
    }
    shards.insert(name);
    if (shards.size() > kMaxShards) {
      weight_map.Fail(absl::StrCat("more than ", kMaxShards, " shards"));
    }
    index->shard_of.emplace(tensor, std::move(name));
  });
  if (index->shard_of.empty()) weight_map.Fail("is empty");
  index->shards.assign(shards.begin(), shards.end());
}

// INVALID_ARGUMENT naming the entry.
absl::StatusOr<CheckpointIndex> ParseIndex(std::string_view json) {
  const absl::StatusOr<JsonDocument> document =
      JsonDocument::Parse(json, {.max_depth = 4, .max_values = kMaxSafetensorsEntries + 10'000});
  if (!document.ok()) return document.status();
  absl::Status first_error;
  const JsonCursor root(*document, &first_error);
  root.AllowOnly({"metadata", "weight_map"});  // the metadata may be anything
  CheckpointIndex index;
  ReadWeightMap(root["weight_map"], &index);
  if (!first_error.ok()) return first_error;
  return index;
}

absl::StatusOr<CheckpointIndex> ReadIndex(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxIndexBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<CheckpointIndex> index = ParseIndex(*text);
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
                                          index.shards.size(),
                                          " shards, missing: ", ListText(missing)));
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
  return InvalidFile(
      PathIn(folder, index.shard_of.at(absent.front())),
      absl::StrCat("lacks tensors that ", kIndexFile, " places there: ", ListText(absent)));
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
