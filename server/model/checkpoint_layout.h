#ifndef OLMOE_SERVER_MODEL_CHECKPOINT_LAYOUT_H_
#define OLMOE_SERVER_MODEL_CHECKPOINT_LAYOUT_H_

#include <cstdint>
#include <string>
#include <string_view>
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
  kUnused,             // of any shape: in the files, and nothing to the model
};

// A tensor that the model uses.
struct TensorSpec {
  std::string name;  // of the published checkpoint: "model.layers.0.mlp.gate.weight"
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::kEmbedding;
  int layer = -1;   // -1: of no layer
  int expert = -1;  // -1: of no expert
  bool optional = false;  // embedding and head of a model that ties them: one is enough
};

// Every tensor of a checkpoint with this config, in the order in which the model uses
// them.
std::vector<TensorSpec> CheckpointLayout(const OlmoeConfig& config);

// A tensor of all experts of a layer, as transformers 5 has them in memory, and saves them where it
// does not bring them back into the published form: "model.layers.0.mlp.experts.gate_up_proj"
// [E, 2 I, H], of each expert the rows of gate and then those of up, and
// "model.layers.0.mlp.experts.down_proj" [E, H, I].
struct FusedExperts {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<std::string> parts;  // names of the layout, in the order in which they lie; one size
};
std::vector<FusedExperts> FusedExpertTensors(const OlmoeConfig& config);

// Whether transformers drops a tensor of this name: old versions saved the frequencies of the rotary
// embedding with every layer.
bool IsDroppedTensor(std::string_view name);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CHECKPOINT_LAYOUT_H_
