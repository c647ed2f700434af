#ifndef OLMOE_SERVER_MODEL_CONFIG_H_
#define OLMOE_SERVER_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/model/model.h"
#include "server/routing/route.h"

namespace olmoe::model {

// config.json of an OlmoeForCausalLM checkpoint: everything that changes what the
// model computes. Immutable once parsed.
struct OlmoeConfig {
  int num_layers = 0;
  int hidden_size = 0;        // H
  int intermediate_size = 0;  // I, width of one expert
  int num_heads = 0;
  int num_kv_heads = 0;       // query head h uses kv head h / (num_heads / num_kv_heads)
  int head_size = 0;          // D
  int vocab_size = 0;         // V
  int num_experts = 0;        // E, 2..128
  int experts_per_token = 0;  // the model's own top-k
  bool norm_topk_prob = false;
  bool attention_bias = false;
  bool tie_word_embeddings = false;
  double rope_theta = 10000;
  double rms_norm_eps = 1e-5;
  std::optional<double> clip_qkv;
  int max_positions = 0;  // max_position_embeddings, tokens
  // Not checked against the vocabulary: ids outside it never occur. Of a list the first is
  // taken.
  std::optional<int64_t> eos_token_id;
  std::optional<int64_t> pad_token_id;
  std::vector<int64_t> end_token_ids;  // the whole list of eos ids

  // Absent keys have the defaults of transformers' OlmoeConfig. rope_theta may stand
  // flat or, as newer transformers write it, inside rope_parameters.
  //
  // Errors: INVALID_ARGUMENT naming the key. Another architecture, rope scaling,
  // other activations and quantized weights are refused by name. Hostile numbers are
  // refused before anything is computed from them: every dimension is bounded so that
  // the size of a tensor and the sum over all tensors fit int64_t.
  static absl::StatusOr<OlmoeConfig> FromJson(std::string_view json);

  // Takes the end tokens of a generation_config.json in place of config.json's, where it has
  // any. INVALID_ARGUMENT where it is malformed.
  absl::Status TakeGenerationConfig(std::string_view json);

  routing::RouterShape router_shape() const {
    return {num_layers, num_experts, experts_per_token, norm_topk_prob};
  }
};

// How a generation_config.json wants tokens to be drawn: its temperature, top_p, top_k, min_p and
// repetition_penalty; greedily where it says "do_sample": false. INVALID_ARGUMENT naming the key of
// a value that can not be sampled by.
absl::StatusOr<SamplingParams> ParseSamplingDefaults(std::string_view json);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_CONFIG_H_
