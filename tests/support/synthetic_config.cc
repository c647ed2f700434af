#include "nlohmann/json.hpp"
#include "tests/support/synthetic_checkpoint.h"

namespace olmoe::testing {

using model::OlmoeConfig;

OlmoeConfig PublishedConfig() {
  OlmoeConfig config;
  config.num_layers = 16;
  config.hidden_size = 2048;
  config.intermediate_size = 1024;
  config.num_heads = 16;
  config.num_kv_heads = 16;
  config.head_size = 128;
  config.vocab_size = 50304;
  config.num_experts = 64;
  config.experts_per_token = 8;
  config.max_positions = 4096;
  config.eos_token_id = 50279;
  config.pad_token_id = 1;
  return config;
}

OlmoeConfig TinyConfig() {
  OlmoeConfig config;
  config.num_layers = 2;
  config.hidden_size = 32;
  config.intermediate_size = 8;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_size = 8;
  config.vocab_size = 64;
  config.num_experts = 8;
  config.experts_per_token = 2;
  config.max_positions = 256;
  return config;
}

std::string ConfigJson(const OlmoeConfig& config, DType dtype) {
  const auto or_null = [](const auto& value) {
    return value.has_value() ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  const char* dtype_name = dtype == DType::kBFloat16  ? "bfloat16"
                           : dtype == DType::kFloat16 ? "float16"
                                                      : "float32";
  const nlohmann::ordered_json json = {
      {"architectures", {"OlmoeForCausalLM"}},
      {"attention_bias", config.attention_bias},
      {"attention_dropout", 0.0},
      {"clip_qkv", or_null(config.clip_qkv)},
      {"eos_token_id", or_null(config.eos_token_id)},
      {"hidden_act", "silu"},
      {"hidden_size", config.hidden_size},
      {"initializer_range", 0.02},
      {"intermediate_size", config.intermediate_size},
      {"max_position_embeddings", config.max_positions},
      {"model_type", "olmoe"},
      {"norm_topk_prob", config.norm_topk_prob},
      {"num_attention_heads", config.num_heads},
      {"num_experts", config.num_experts},
      {"num_experts_per_tok", config.experts_per_token},
      {"num_hidden_layers", config.num_layers},
      {"num_key_value_heads", config.num_kv_heads},
      {"output_router_logits", false},
      {"pad_token_id", or_null(config.pad_token_id)},
      {"rms_norm_eps", config.rms_norm_eps},
      {"rope_scaling", nullptr},
      {"rope_theta", config.rope_theta},
      {"router_aux_loss_coef", 0.01},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"torch_dtype", dtype_name},
      {"transformers_version", "4.43.0.dev0"},
      {"use_cache", true},
      {"vocab_size", config.vocab_size},
  };
  return json.dump(2) + "\n";
}

}  // namespace olmoe::testing
