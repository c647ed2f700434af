#ifndef OLMOE_SERVER_MODEL_CHECKPOINT_LAYOUT_H_
#define OLMOE_SERVER_MODEL_CHECKPOINT_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/model/config.h"

namespace olmoe::model {

// What a tensor is to the model. Shapes, with H hidden, I intermediate, V vocabulary,
// E experts, Q = heads * head size = H, K = kv heads * head size; a matrix maps its last
// dimension to its first.
enum class TensorRole : uint8_t {
  kEmbedding,          // [V, H]
  kInputNorm,          // [H]
  kQueryWeight,        // [Q, H]
  kKeyWeight,          // [K, H]
  kValueWeight,        // [K, H]
  kOutputWeight,       // [H, Q]
  kQueryBias,          // [Q]; biases with attention_bias only
  kKeyBias,            // [K]
  kValueBias,          // [K]
  kOutputBias,         // [H]
  kQueryNorm,          // [Q], over all heads together
  kKeyNorm,            // [K], likewise
  kPostAttentionNorm,  // [H]
  kRouter,             // [E, H]
  kExpertGate,         // [I, H]
  kExpertUp,           // [I, H]
  kExpertDown,         // [H, I]
  kFinalNorm,          // [H]
  kHead,               // [V, H]
};

struct TensorSpec {
  std::string name;  // of the published checkpoint: "model.layers.0.mlp.gate.weight"
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::kEmbedding;
  int layer = -1;   // -1: of no layer
  int expert = -1;  // -1: of no expert
  // The head of a model with tied embeddings: may be there, and is not used.
  bool optional = false;
};

// Every tensor of a checkpoint with this config, in the order in which the model uses
// them.
std::vector<TensorSpec> CheckpointLayout(const OlmoeConfig& config);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CHECKPOINT_LAYOUT_H_
