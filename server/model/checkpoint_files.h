#ifndef OLMOE_SERVER_MODEL_CHECKPOINT_FILES_H_
#define OLMOE_SERVER_MODEL_CHECKPOINT_FILES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/util/safetensors.h"

namespace olmoe::model {

// Opens the safetensors files of a checkpoint folder, ascending by name: the one
// model.safetensors, or else the shards that model.safetensors.index.json names (the
// order of precedence of transformers). With an index, every tensor is in the shard
// where the index places it and in no other, so names are unique over all files.
// Errors name the file, and the tensor where it is about one.
absl::StatusOr<std::vector<std::unique_ptr<SafetensorsFile>>> OpenCheckpointFiles(
    const std::string& folder);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CHECKPOINT_FILES_H_
