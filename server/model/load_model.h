#ifndef OLMOE_SERVER_MODEL_LOAD_MODEL_H_
#define OLMOE_SERVER_MODEL_LOAD_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/model.h"
#include "server/util/dtype.h"

namespace olmoe::model {

// What a step computes on its way, copied to the host: for tests, and for looking for
// the layer in which two implementations part. float32.
struct StepTrace {
  // The residual stream: the embedding, then after each layer.
  std::vector<std::vector<float>> hidden_states;  // [layers + 1] of [rows * H]
  // Of the rows that are sampled or scored, in batch order.
  std::vector<float> final_norm;  // [logit rows * H]
  std::vector<float> logits;      // [logit rows * V]
};

struct LoadOptions {
  std::string dir;               // a checkpoint folder in the layout of the hub
  std::string model_id;          // what the model is called; empty: by its folder
  std::string device = "cpu";    // as LibTorch names it: "cpu", "cuda", "cuda:1"
  // What computes on device "cpu": "auto", a name that ParseIsa of ops/cpu/isa.h knows, or
  // "aten" for the reference. Other devices have the reference only.
  std::string cpu_isa = "auto";
  DType dtype = DType::kBFloat16;  // kFloat32 or kBFloat16: of weights, products and KV cache
  int threads = 0;               // compute threads; 0: one per core
  int64_t kv_cache_bytes = 0;    // 0: kDefaultKvSequences sequences of max_context tokens
  int max_context = 0;           // tokens of one sequence; 0: what config.json allows
  int page_tokens = 16;          // positions of one page of the KV cache
  int max_batch_tokens = 512;    // rows of one step
  StepTrace* trace_for_testing = nullptr;  // filled by every step; outlives the model
};

inline constexpr int kDefaultKvSequences = 4;

// What a model in this folder is called: the folder's name, or, in the cache of the Hugging Face
// hub (models--OWNER--NAME/snapshots/COMMIT), OWNER/NAME@ and the first seven digits of the commit.
std::string ModelIdOf(const std::string& dir);

// Called now and then while weights are read; as Checkpoint::Progress.
using LoadProgress = std::function<void(size_t bytes_done, size_t bytes_total)>;

// Opens a checkpoint, sees whether everything fits, and only then takes memory and
// reads the weights. Call it before other threads start: it sets thread counts of the
// process. Errors are one line: INVALID_ARGUMENT for an option or a file,
// RESOURCE_EXHAUSTED with the sizes where memory does not suffice, NOT_FOUND,
// DATA_LOSS for a file that changes while it is read.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const LoadOptions& options,
                                                 const LoadProgress& progress = {});

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_LOAD_MODEL_H_
