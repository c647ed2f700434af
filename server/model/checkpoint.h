#ifndef OLMOE_SERVER_MODEL_CHECKPOINT_H_
#define OLMOE_SERVER_MODEL_CHECKPOINT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/model/checkpoint_layout.h"
#include "server/model/config.h"
#include "server/util/dtype.h"
#include "server/util/safetensors.h"

namespace olmoe::model {

// One tensor of a checkpoint: what it is, and where it lies.
struct TensorInfo {
  std::string name;                // of the published layout, also where the file has it fused
  DType dtype = DType::kBFloat16;  // a weight dtype
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::kEmbedding;
  int layer = -1;   // -1: of no layer
  int expert = -1;  // -1: of no expert
  std::string file;
  size_t offset = 0;  // of the first byte, from the start of the file
  size_t bytes = 0;   // in the file
};

// Where Load writes a tensor: memory for all its elements, row-major without gaps.
struct Target {
  void* data = nullptr;            // null: the tensor is hashed and not kept
  DType dtype = DType::kBFloat16;  // kFloat32 or kBFloat16
};

// A checkpoint folder: config.json, perhaps generation_config.json, model.safetensors or shards with
// their index, and perhaps tokenizer.json. Open reads headers only (and both matrices of a model
// that ties them, where the files have both), and everything that can be wrong
// with them is found there: names, shapes, dtypes and extents of all tensors are those
// that config.json implies. So memory is taken for the weights of a checkpoint that
// fits, or not at all. Keeps the files open. Thread-compatible.
class Checkpoint {
 public:
  // Called once a tensor, in file order. Whatever was asked for before is complete by
  // then, and its memory the caller's again.
  using Destination = std::function<Target(const TensorInfo&)>;
  // At most about ten times a second, and at the end with bytes_done == bytes_total.
  using Progress = std::function<void(size_t bytes_done, size_t bytes_total)>;

  // Errors are one line: which file, which tensor or key, expected and found.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  // With the end tokens of generation_config.json, and untied where the files hold two matrices that
  // differ.
  const OlmoeConfig& config() const { return config_; }
  // What an operator should know of the files; one line each.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // In file order: files by name, tensors by offset.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // Sum of the sizes of the safetensors files.
  size_t total_bytes() const;
  bool has_tokenizer() const;
  std::string tokenizer_path() const;

  // Reads every byte of the files once, from start to end, and converts what the target
  // holds in another dtype (to nearest, ties to even). `progress` may be empty. DATA_LOSS
  // if a file is no longer the one that was opened.
  absl::Status Load(const Destination& destination, const Progress& progress = {});

  // SHA-256 over the safetensors files in name order, in hexadecimal. Empty before a
  // Load that succeeded.
  const std::string& weights_digest() const { return weights_digest_; }

 private:
  class Loader;

  Checkpoint() = default;

  // Follows transformers where config.json ties the head to the embedding.
  absl::Status ResolveTiedHead();

  // Constant after Open.
  std::string folder_;
  OlmoeConfig config_;
  std::vector<std::string> warnings_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;  // ascending by name
  std::vector<TensorInfo> tensors_;

  std::string weights_digest_;
};

// What a checkpoint folder's generation_config.json says of sampling (ParseSamplingDefaults); without
// that file nothing.
absl::StatusOr<SamplingParams> ReadSamplingDefaults(const std::string& folder);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CHECKPOINT_H_
