#ifndef OLMOE_SERVER_MODEL_CHECKPOINT_INDEX_H_
#define OLMOE_SERVER_MODEL_CHECKPOINT_INDEX_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace olmoe::model {

// model.safetensors.index.json: which shard holds which tensor. Immutable.
struct CheckpointIndex {
  std::vector<std::string> shards;                         // file names, ascending, each once
  absl::flat_hash_map<std::string, std::string> shard_of;  // tensor -> file name

  // INVALID_ARGUMENT naming the entry. A shard must be the name of a .safetensors file
  // in the checkpoint's own folder: '/', '..' and control characters are refused.
  static absl::StatusOr<CheckpointIndex> FromJson(std::string_view json);
};

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CHECKPOINT_INDEX_H_
