#ifndef OLMOE_SERVER_MODEL_WEIGHTS_H_
#define OLMOE_SERVER_MODEL_WEIGHTS_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "glog/logging.h"
#include "server/model/checkpoint.h"
#include "server/model/config.h"
#include "server/ops/ops.h"

namespace olmoe::model {

template <ops::Operations Ops>
struct LayerWeights {
  typename Ops::Vector attention_norm;  // [H]
  typename Ops::Matrix qkv;             // [Q + 2 K, H]: the rows of q, k and v
  typename Ops::Vector query_norm;      // [Q], over all heads together
  typename Ops::Vector key_norm;        // [K], likewise
  typename Ops::Matrix output;          // [H, Q]
  typename Ops::Vector expert_norm;     // [H]
  typename Ops::Matrix router;          // [E, H], float32 in every mode
  typename Ops::Experts experts;
};

// All weights of a model, in the memory and layout of `Ops`. Immutable once read.
template <ops::Operations Ops>
struct Weights {
  typename Ops::Matrix embedding;  // [V, H]
  std::vector<LayerWeights<Ops>> layers;
  typename Ops::Vector final_norm;  // [H]
  typename Ops::Matrix head;        // [V, H]; the embedding where they are tied
};

template <ops::Operations Ops>
Weights<Ops> AllocateWeights(const OlmoeConfig& config, Ops* ops) {
  const ops::Precision compute = ops->options().compute;
  const int64_t hidden = config.hidden_size;
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t key_value = int64_t{config.num_kv_heads} * config.head_size;
  Weights<Ops> weights;
  weights.embedding = ops->NewMatrix(config.vocab_size, hidden, compute, /*bias=*/false);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    weights.layers.push_back(
        {.attention_norm = ops->NewVector(hidden),
         .qkv = ops->NewMatrix(query + 2 * key_value, hidden, compute, config.attention_bias),
         .query_norm = ops->NewVector(query),
         .key_norm = ops->NewVector(key_value),
         .output = ops->NewMatrix(hidden, query, compute, config.attention_bias),
         .expert_norm = ops->NewVector(hidden),
         .router = ops->NewMatrix(config.num_experts, hidden, ops::Precision::kFloat32, false),
         .experts = ops->NewExperts(config.num_experts, config.intermediate_size, hidden)});
  }
  weights.final_norm = ops->NewVector(hidden);
  weights.head = config.tie_word_embeddings
                     ? weights.embedding
                     : ops->NewMatrix(config.vocab_size, hidden, compute, /*bias=*/false);
  return weights;
}

// Where a tensor of the checkpoint goes; empty for one that the model does not use.
template <ops::Operations Ops>
std::optional<typename Ops::Block> BlockOf(const TensorInfo& tensor, const OlmoeConfig& config,
                                           const Weights<Ops>& weights, Ops* ops) {
  const int64_t hidden = config.hidden_size;
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t key_value = int64_t{config.num_kv_heads} * config.head_size;
  const auto layer = [&]() -> const LayerWeights<Ops>& {
    return weights.layers[static_cast<size_t>(tensor.layer)];
  };
  switch (tensor.role) {
    case TensorRole::kEmbedding: return ops->Rows(weights.embedding, 0, config.vocab_size);
    case TensorRole::kInputNorm: return ops->All(layer().attention_norm);
    case TensorRole::kQueryWeight: return ops->Rows(layer().qkv, 0, query);
    case TensorRole::kKeyWeight: return ops->Rows(layer().qkv, query, key_value);
    case TensorRole::kValueWeight: return ops->Rows(layer().qkv, query + key_value, key_value);
    case TensorRole::kOutputWeight: return ops->Rows(layer().output, 0, hidden);
    case TensorRole::kQueryBias: return ops->Bias(layer().qkv, 0, query);
    case TensorRole::kKeyBias: return ops->Bias(layer().qkv, query, key_value);
    case TensorRole::kValueBias: return ops->Bias(layer().qkv, query + key_value, key_value);
    case TensorRole::kOutputBias: return ops->Bias(layer().output, 0, hidden);
    case TensorRole::kQueryNorm: return ops->All(layer().query_norm);
    case TensorRole::kKeyNorm: return ops->All(layer().key_norm);
    case TensorRole::kPostAttentionNorm: return ops->All(layer().expert_norm);
    case TensorRole::kRouter: return ops->Rows(layer().router, 0, config.num_experts);
    case TensorRole::kExpertGate: return ops->Gate(layer().experts, tensor.expert);
    case TensorRole::kExpertUp: return ops->Up(layer().experts, tensor.expert);
    case TensorRole::kExpertDown: return ops->Down(layer().experts, tensor.expert);
    case TensorRole::kFinalNorm: return ops->All(weights.final_norm);
    case TensorRole::kHead: return ops->Rows(weights.head, 0, config.vocab_size);
    case TensorRole::kUnused: break;
  }
  CHECK(tensor.role == TensorRole::kUnused) << tensor.name;
  return std::nullopt;
}

// Reads the whole checkpoint into `weights`.
template <ops::Operations Ops>
absl::Status ReadWeights(Checkpoint* checkpoint, const Weights<Ops>& weights, Ops* ops,
                         const Checkpoint::Progress& progress) {
  std::optional<typename Ops::Block> staged;
  const auto commit = [&] {
    if (staged.has_value()) ops->Commit(*staged);
    staged.reset();
  };
  const absl::Status status = checkpoint->Load(
      [&](const TensorInfo& tensor) {
        commit();
        staged = BlockOf(tensor, checkpoint->config(), weights, ops);
        if (!staged.has_value()) return Target{};
        const bool wide = ops->PrecisionOf(*staged) == ops::Precision::kFloat32;
        return Target{ops->Stage(*staged), wide ? DType::kFloat32 : DType::kBFloat16};
      },
      progress);
  if (status.ok()) commit();
  return status;
}

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_WEIGHTS_H_
