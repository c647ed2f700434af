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
// order of precedence of transformers). As transformers does, it takes from the index which
// shards there are, in the folder or below it, and nothing else: what tensors a shard holds its own
// header says. Errors name the file.
absl::StatusOr<std::vector<std::unique_ptr<SafetensorsFile>>> OpenCheckpointFiles(
    const std::string& folder);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CHECKPOINT_FILES_H_
