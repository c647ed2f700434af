#include "server/model/checkpoint_files.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

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
constexpr size_t kMaxShardNameBytes = 1024;

using Files = std::vector<std::unique_ptr<SafetensorsFile>>;

std::string PathIn(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// The path of a .safetensors file in the checkpoint's folder or below it.
bool IsSafeShardName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  if (name.size() > kMaxShardNameBytes || !name.ends_with(kSuffix)) return false;
  for (const char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) return false;
  }
  const std::filesystem::path path = name;
  return path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end() &&
         !path.filename().string().starts_with('.');
}

// Of {tensor: shard} the shards, ascending, each once.
std::vector<std::string> ReadShards(const JsonCursor& weight_map) {
  std::set<std::string> shards;
  weight_map.ForEachField([&](const std::string&, const JsonCursor& shard) {
    const std::string name = shard.String();
    if (!shard.ok()) return;
    if (!IsSafeShardName(name)) {
      shard.Fail(absl::StrCat("shard ", Quoted(name),
                              " is not the name of a .safetensors file in this folder"));
    }
    shards.insert(std::filesystem::path(name).lexically_normal().string());
    if (shards.size() > kMaxShards) {
      weight_map.Fail(absl::StrCat("more than ", kMaxShards, " shards"));
    }
  });
  if (shards.empty()) weight_map.Fail("is empty");
  return {shards.begin(), shards.end()};
}

// INVALID_ARGUMENT naming the entry.
absl::StatusOr<std::vector<std::string>> ParseIndex(std::string_view json) {
  constexpr JsonLimits kLimits = {.max_depth = 16, .max_values = kMaxSafetensorsEntries + 10'000};
  std::vector<std::string> shards;
  const absl::Status status = ReadJson(
      json, kLimits, [&](const JsonCursor& root) { shards = ReadShards(root["weight_map"]); });
  if (!status.ok()) return status;
  return shards;
}

absl::StatusOr<std::vector<std::string>> ReadIndex(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxIndexBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<std::string>> shards = ParseIndex(*text);
  if (!shards.ok()) return WithPath(path, shards.status());
  return shards;
}

absl::Status CheckShardsExist(const std::string& folder, const std::vector<std::string>& shards) {
  std::vector<std::string> missing;
  for (const std::string& shard : shards) {
    if (!Exists(PathIn(folder, shard))) missing.push_back(shard);
  }
  if (missing.empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(PathIn(folder, kIndexFile), ": names ", shards.size(),
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

absl::StatusOr<Files> OpenSharded(const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> shards = ReadIndex(PathIn(folder, kIndexFile));
  if (!shards.ok()) return shards.status();
  const absl::Status status = CheckShardsExist(folder, *shards);
  if (!status.ok()) return status;
  return OpenAll(folder, *shards);
}

}  // namespace

absl::StatusOr<Files> OpenCheckpointFiles(const std::string& folder) {
  if (Exists(PathIn(folder, kSingleFile))) return OpenAll(folder, {kSingleFile});
  if (Exists(PathIn(folder, kIndexFile))) return OpenSharded(folder);
  return absl::NotFoundError(
      absl::StrCat(folder, ": has neither ", kSingleFile, " nor ", kIndexFile));
}

}  // namespace olmoe::model
