// Checkpoints of any size with random weights: tiny ones for tests, one of the size of
// the published model for measurements (bench/make_checkpoint.cc).
#ifndef OLMOE_TESTS_SUPPORT_SYNTHETIC_CHECKPOINT_H_
#define OLMOE_TESTS_SUPPORT_SYNTHETIC_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "server/model/config.h"
#include "server/util/dtype.h"

namespace olmoe::testing {

// OLMoE-1B-7B-0924: 16 layers, hidden size 2048, 64 experts, top 8; 6.9 G parameters.
model::OlmoeConfig PublishedConfig();

// 2 layers, hidden size 32, 8 experts, top 2, grouped heads; 21 thousand parameters,
// no eos, so that no text ends early.
model::OlmoeConfig TinyConfig();

// config.json as it is published, with flat rope_theta.
std::string ConfigJson(const model::OlmoeConfig& config, DType dtype = DType::kBFloat16);

struct SyntheticCheckpointOptions {
  model::OlmoeConfig config = TinyConfig();
  DType dtype = DType::kBFloat16;  // a weight dtype
  // A tensor depends on the seed, its name, its shape and the dtype, and on nothing
  // else: not on shards, threads or the other tensors.
  uint64_t seed = 1;
  int num_shards = 0;  // 0: as few as max_shard_bytes allows
  uint64_t max_shard_bytes = 5'000'000'000;
  int num_threads = 2;
  std::string tokenizer_file = "";  // copied to tokenizer.json; empty: none
  // Called on the calling thread, at most about ten times a second and at the end.
  std::function<void(uint64_t bytes_done, uint64_t bytes_total)> progress = nullptr;
};

// Writes config.json, model.safetensors (or shards and their index, as the hub names
// them) into `folder`, which is made where it does not exist and must not hold a
// checkpoint. Through 16 layers the residual stream grows from 1 to about 2.3 (root mean
// square), router logits have a standard deviation of about 1.25, logits one of about
// 2.5. Takes a few MiB of memory a thread. Errors name the file.
absl::Status WriteSyntheticCheckpoint(const std::string& folder,
                                      const SyntheticCheckpointOptions& options);

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_SYNTHETIC_CHECKPOINT_H_
