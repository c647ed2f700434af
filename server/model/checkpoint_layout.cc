#include "server/model/checkpoint_layout.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::model {
namespace {

// Appends the tensors of one layer. Thread-compatible.
class LayerLayout {
 public:
  LayerLayout(const OlmoeConfig& config, int layer, std::vector<TensorSpec>* layout)
      : config_(config), layer_(layer), layout_(layout) {}

  void AddAll() {
    const int64_t hidden = config_.hidden_size;
    Add("input_layernorm.weight", {hidden}, TensorRole::kInputNorm);
    AddAttention();
    Add("post_attention_layernorm.weight", {hidden}, TensorRole::kPostAttentionNorm);
    Add("mlp.gate.weight", {config_.num_experts, hidden}, TensorRole::kRouter);
    for (int expert = 0; expert < config_.num_experts; ++expert) AddExpert(expert);
  }

 private:
  void AddAttention() {
    const int64_t hidden = config_.hidden_size;
    const int64_t query = int64_t{config_.num_heads} * config_.head_size;
    const int64_t key = int64_t{config_.num_kv_heads} * config_.head_size;
    AddProjection("q_proj", {query, hidden}, TensorRole::kQueryWeight, TensorRole::kQueryBias);
    AddProjection("k_proj", {key, hidden}, TensorRole::kKeyWeight, TensorRole::kKeyBias);
    AddProjection("v_proj", {key, hidden}, TensorRole::kValueWeight, TensorRole::kValueBias);
    AddProjection("o_proj", {hidden, query}, TensorRole::kOutputWeight, TensorRole::kOutputBias);
    Add("self_attn.q_norm.weight", {query}, TensorRole::kQueryNorm);
    Add("self_attn.k_norm.weight", {key}, TensorRole::kKeyNorm);
  }

  void AddProjection(std::string_view name, std::vector<int64_t> shape, TensorRole weight,
                     TensorRole bias) {
    const std::string prefix = absl::StrCat("self_attn.", std::string(name));
    const int64_t rows = shape[0];
    Add(absl::StrCat(prefix, ".weight"), std::move(shape), weight);
    if (config_.attention_bias) Add(absl::StrCat(prefix, ".bias"), {rows}, bias);
  }

  void AddExpert(int expert) {
    const int64_t hidden = config_.hidden_size;
    const int64_t width = config_.intermediate_size;
    const std::string prefix = absl::StrCat("mlp.experts.", expert, ".");
    Add(prefix + "gate_proj.weight", {width, hidden}, TensorRole::kExpertGate, expert);
    Add(prefix + "up_proj.weight", {width, hidden}, TensorRole::kExpertUp, expert);
    Add(prefix + "down_proj.weight", {hidden, width}, TensorRole::kExpertDown, expert);
  }

  void Add(std::string_view name, std::vector<int64_t> shape, TensorRole role, int expert = -1) {
    layout_->push_back({.name = absl::StrCat("model.layers.", layer_, ".", std::string(name)),
                        .shape = std::move(shape),
                        .role = role,
                        .layer = layer_,
                        .expert = expert});
  }

  const OlmoeConfig& config_;
  const int layer_;
  std::vector<TensorSpec>* const layout_;  // not owned
};

}  // namespace

std::vector<TensorSpec> CheckpointLayout(const OlmoeConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t vocab = config.vocab_size;
  std::vector<TensorSpec> layout;
  layout.push_back({.name = "model.embed_tokens.weight",
                    .shape = {vocab, hidden},
                    .role = TensorRole::kEmbedding,
                    .optional = config.tie_word_embeddings});
  for (int layer = 0; layer < config.num_layers; ++layer) {
    LayerLayout(config, layer, &layout).AddAll();
  }
  layout.push_back({"model.norm.weight", {hidden}, TensorRole::kFinalNorm});
  layout.push_back({.name = "lm_head.weight",
                    .shape = {vocab, hidden},
                    .role = TensorRole::kHead,
                    .optional = config.tie_word_embeddings});
  return layout;
}

std::vector<FusedExperts> FusedExpertTensors(const OlmoeConfig& config) {
  const int64_t experts = config.num_experts;
  const int64_t hidden = config.hidden_size;
  const int64_t width = config.intermediate_size;
  std::vector<FusedExperts> tensors;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".mlp.experts.");
    FusedExperts gate_up = {prefix + "gate_up_proj", {experts, 2 * width, hidden}, {}};
    FusedExperts down = {prefix + "down_proj", {experts, hidden, width}, {}};
    for (int expert = 0; expert < experts; ++expert) {
      gate_up.parts.push_back(absl::StrCat(prefix, expert, ".gate_proj.weight"));
      gate_up.parts.push_back(absl::StrCat(prefix, expert, ".up_proj.weight"));
      down.parts.push_back(absl::StrCat(prefix, expert, ".down_proj.weight"));
    }
    tensors.push_back(std::move(gate_up));
    tensors.push_back(std::move(down));
  }
  return tensors;
}

bool IsDroppedTensor(std::string_view name) {
  return name.find("rotary_emb.inv_freq") != name.npos;
}

}  // namespace olmoe::model
