#include "server/model/checkpoint_index.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/model/file_errors.h"
#include "server/model/safetensors.h"
#include "server/model/strict_json.h"

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

// {"metadata": anything, "weight_map": {tensor: shard}}. The metadata is ignored.
// Thread-compatible.
class IndexHandler final : public StrictJsonHandler {
 public:
  IndexHandler()
      : StrictJsonHandler({.max_depth = 4, .max_values = kMaxSafetensorsEntries + 10'000}) {}

  bool has_weight_map() const { return seen_weight_map_; }

  CheckpointIndex TakeIndex() {
    index_.shards.assign(shards_.begin(), shards_.end());
    return std::move(index_);
  }

 private:
  bool OnStartObject() override {
    if (depth() == 0 || in_metadata_) return true;
    return (depth() == 1 && in_weight_map_) || Unexpected("an object");
  }

  bool OnEndObject() override {
    if (depth() == 1) in_metadata_ = in_weight_map_ = false;
    return true;
  }

  bool OnKey(std::string& key) override {
    if (depth() == 1) return StartSection(key);
    if (in_metadata_) return true;
    tensor_ = key;
    return !index_.shard_of.contains(key) || Fail("duplicate entry");
  }

  bool StartSection(const std::string& key) {
    in_metadata_ = key == "metadata";
    in_weight_map_ = key == "weight_map";
    if (!in_metadata_ && !in_weight_map_) return Fail(absl::StrCat("unknown key ", Printable(key)));
    bool& seen = in_metadata_ ? seen_metadata_ : seen_weight_map_;
    if (seen) return Fail(absl::StrCat("duplicate key ", key));
    seen = true;
    return true;
  }

  bool OnString(std::string& value) override {
    if (in_metadata_) return true;
    if (depth() != 2) return Unexpected("a string");
    if (!IsSafeShardName(value)) {
      return Fail(absl::StrCat("shard ", Printable(value),
                               " is not the plain name of a .safetensors file"));
    }
    shards_.insert(value);
    if (shards_.size() > kMaxShards) return Fail(absl::StrCat("more than ", kMaxShards, " shards"));
    index_.shard_of.emplace(tensor_, std::move(value));
    return true;
  }

  bool OnStartArray() override { return in_metadata_ || Unexpected("an array"); }
  bool OnNull() override { return in_metadata_ || Unexpected("null"); }
  bool OnBool(bool) override { return in_metadata_ || Unexpected("a boolean"); }
  bool OnUnsigned(uint64_t) override { return in_metadata_ || Unexpected("a number"); }
  bool OnOtherNumber(double) override { return in_metadata_ || Unexpected("a number"); }

  std::string Where() const override {
    if (!in_weight_map_) return "";
    return depth() < 2 ? "weight_map" : absl::StrCat("tensor ", Printable(tensor_));
  }

  CheckpointIndex index_;
  std::set<std::string> shards_;
  std::string tensor_;  // the key of weight_map being read
  bool in_metadata_ = false;
  bool in_weight_map_ = false;
  bool seen_metadata_ = false;
  bool seen_weight_map_ = false;
};

}  // namespace

absl::StatusOr<CheckpointIndex> CheckpointIndex::FromJson(std::string_view json) {
  IndexHandler handler;
  const absl::Status status = ParseStrictJson(json, &handler);
  if (!status.ok()) return status;
  CheckpointIndex index = handler.TakeIndex();
  if (index.shard_of.empty()) {
    return absl::InvalidArgumentError(handler.has_weight_map() ? "weight_map is empty"
                                                               : "weight_map is missing");
  }
  return index;
}

}  // namespace olmoe::model
