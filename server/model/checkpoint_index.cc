#include "server/model/checkpoint_index.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"
#include "server/util/safetensors.h"

namespace olmoe::model {
namespace {

constexpr size_t kMaxShards = 256;  // each is kept open
constexpr size_t kMaxShardNameBytes = 128;

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
      shard.Fail(absl::StrCat("shard ", Quoted(name),
                              " is not the plain name of a .safetensors file"));
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

}  // namespace

absl::StatusOr<CheckpointIndex> CheckpointIndex::FromJson(std::string_view json) {
  const absl::StatusOr<JsonDocument> document = JsonDocument::Parse(
      json, {.max_depth = 4, .max_values = kMaxSafetensorsEntries + 10'000});
  if (!document.ok()) return document.status();
  absl::Status first_error;
  const JsonCursor root(*document, &first_error);
  root.AllowOnly({"metadata", "weight_map"});  // the metadata may be anything
  CheckpointIndex index;
  ReadWeightMap(root["weight_map"], &index);
  if (!first_error.ok()) return first_error;
  return index;
}

}  // namespace olmoe::model
