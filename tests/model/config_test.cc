#include "server/model/config.h"

#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/synthetic_checkpoint.h"

namespace olmoe::model {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// config.json of the published checkpoint.
json Published() { return json::parse(testing::ConfigJson(testing::PublishedConfig())); }

// The published config after `change`, a JSON merge patch: null removes a key.
std::string Patched(const char* change) {
  json config = Published();
  config.merge_patch(json::parse(change));
  return config.dump();
}

// The published config with one key set; unlike in a patch, null is a value.
std::string With(const char* key, const json& value) {
  json config = Published();
  config[key] = value;
  return config.dump();
}

OlmoeConfig ParseOrDie(const std::string& text) {
  const absl::StatusOr<OlmoeConfig> config = OlmoeConfig::FromJson(text);
  EXPECT_TRUE(config.ok()) << config.status() << "\n" << text;
  return config.ok() ? *config : OlmoeConfig();
}

TEST(OlmoeConfigTest, ReadsThePublishedConfig) {
  const OlmoeConfig config = ParseOrDie(Published().dump(2));
  EXPECT_EQ(config.num_layers, 16);
  EXPECT_EQ(config.hidden_size, 2048);
  EXPECT_EQ(config.intermediate_size, 1024);
  EXPECT_EQ(config.num_heads, 16);
  EXPECT_EQ(config.num_kv_heads, 16);
  EXPECT_EQ(config.head_size, 128);
  EXPECT_EQ(config.vocab_size, 50304);
  EXPECT_EQ(config.num_experts, 64);
  EXPECT_EQ(config.experts_per_token, 8);
  EXPECT_FALSE(config.norm_topk_prob);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.clip_qkv, std::nullopt);
  EXPECT_EQ(config.max_positions, 4096);
  EXPECT_EQ(config.eos_token_id, 50279);
  EXPECT_EQ(config.pad_token_id, 1);
}

TEST(OlmoeConfigTest, AbsentKeysHaveTheDefaultsOfTransformers) {
  const OlmoeConfig config = ParseOrDie(R"({"model_type": "olmoe"})");
  EXPECT_EQ(config.num_layers, 16);
  EXPECT_EQ(config.hidden_size, 2048);
  EXPECT_EQ(config.intermediate_size, 2048);
  EXPECT_EQ(config.num_heads, 16);
  EXPECT_EQ(config.num_kv_heads, 16);
  EXPECT_EQ(config.vocab_size, 50304);
  EXPECT_EQ(config.num_experts, 64);
  EXPECT_EQ(config.experts_per_token, 8);
  EXPECT_EQ(config.max_positions, 4096);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.eos_token_id, 50279);
  EXPECT_EQ(config.pad_token_id, 1);
}

TEST(OlmoeConfigTest, HonoursEveryKeyThatChangesTheModel) {
  const OlmoeConfig config = ParseOrDie(Patched(R"({
      "num_hidden_layers": 3, "hidden_size": 66, "intermediate_size": 37,
      "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 101, "num_experts": 128,
      "num_experts_per_tok": 128, "norm_topk_prob": true, "attention_bias": true,
      "tie_word_embeddings": true, "rope_theta": 500000, "rms_norm_eps": 1e-6, "clip_qkv": 8,
      "max_position_embeddings": 77, "head_dim": 22})"));
  EXPECT_EQ(config.num_layers, 3);
  EXPECT_EQ(config.hidden_size, 66);
  EXPECT_EQ(config.intermediate_size, 37);
  EXPECT_EQ(config.num_heads, 3);
  EXPECT_EQ(config.num_kv_heads, 1);
  EXPECT_EQ(config.head_size, 22);
  EXPECT_EQ(config.vocab_size, 101);
  EXPECT_EQ(config.num_experts, 128);
  EXPECT_EQ(config.experts_per_token, 128);
  EXPECT_TRUE(config.norm_topk_prob);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.rope_theta, 500000);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.clip_qkv, 8);
  EXPECT_EQ(config.max_positions, 77);
}

TEST(OlmoeConfigTest, KeyValueHeadsDefaultToTheHeads) {
  EXPECT_EQ(ParseOrDie(Patched(R"({"num_key_value_heads": null, "num_attention_heads": 8})"))
                .num_kv_heads,
            8);
}

TEST(OlmoeConfigTest, ReadsRopeThetaWhereverItStands) {
  const struct {
    const char* change;
    double theta;
  } kCases[] = {
      {R"({"rope_theta": 1e6})", 1e6},
      {R"({"rope_theta": null})", 10000},
      {R"({"rope_theta": null, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})",
       5e5},
      {R"({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5}})", 5e5},
      {R"({"rope_theta": 5e5, "rope_parameters": {"rope_type": "default"}})", 5e5},
      {R"({"rope_theta": null, "rope_scaling": {"type": "default", "rope_theta": 3e4}})", 3e4},
      {R"({"rope_scaling": {"rope_type": "default"}})", 10000},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.change);
    EXPECT_EQ(ParseOrDie(Patched(test.change)).rope_theta, test.theta);
  }
}

TEST(OlmoeConfigTest, TokenIdsAreNumbersListsOrAbsent) {
  EXPECT_EQ(ParseOrDie(With("eos_token_id", 7)).eos_token_id, 7);
  EXPECT_EQ(ParseOrDie(With("eos_token_id", 60000)).eos_token_id, 60000);  // > vocab_size
  EXPECT_EQ(ParseOrDie(With("eos_token_id", {5, 7})).eos_token_id, 5);
  EXPECT_THAT(ParseOrDie(With("eos_token_id", {5, 7})).end_token_ids, ElementsAre(5, 7));
  EXPECT_THAT(ParseOrDie(With("eos_token_id", 7)).end_token_ids, ElementsAre(7));
  EXPECT_THAT(ParseOrDie(With("eos_token_id", {5, -1, 7})).end_token_ids, ElementsAre(5, 7));
  EXPECT_THAT(ParseOrDie(With("eos_token_id", nullptr)).end_token_ids, IsEmpty());
  EXPECT_EQ(ParseOrDie(With("eos_token_id", json::array())).eos_token_id, std::nullopt);
  EXPECT_EQ(ParseOrDie(With("eos_token_id", nullptr)).eos_token_id, std::nullopt);
  EXPECT_EQ(ParseOrDie(With("eos_token_id", -1)).eos_token_id, std::nullopt);
  EXPECT_EQ(ParseOrDie(With("pad_token_id", nullptr)).pad_token_id, std::nullopt);
}

TEST(OlmoeConfigTest, EndTokensOfGenerationConfigCountBeforeTheModels) {
  const OlmoeConfig config = ParseOrDie(With("eos_token_id", {5, 7}));
  const auto end_tokens = [&config](const char* generation) {
    OlmoeConfig changed = config;
    EXPECT_TRUE(changed.TakeGenerationConfig(generation).ok()) << generation;
    EXPECT_EQ(changed.eos_token_id, 5);
    return changed.end_token_ids;
  };
  EXPECT_THAT(end_tokens(R"({"eos_token_id": [1, 2, 3], "do_sample": true})"),
              ElementsAre(1, 2, 3));
  EXPECT_THAT(end_tokens(R"({"eos_token_id": 9})"), ElementsAre(9));
  for (const char* none : {"{}", R"({"eos_token_id": null})", R"({"eos_token_id": []})"}) {
    EXPECT_THAT(end_tokens(none), ElementsAre(5, 7)) << none;
  }
  OlmoeConfig changed = config;
  for (const char* bad : {"", "[]", R"({"eos_token_id": "</s>"})", R"({"eos_token_id": [1.5]})"}) {
    EXPECT_EQ(changed.TakeGenerationConfig(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ParseSamplingDefaultsTest, TakesWhatTheFileSaysAndLeavesTheRest) {
  const SamplingParams all = ParseSamplingDefaults(R"({
    "do_sample": true, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
    "repetition_penalty": 1.1, "max_new_tokens": 7, "num_beams": 1})")
                                 .value();
  EXPECT_EQ(all.temperature, 0.7);
  EXPECT_EQ(all.top_p, 0.9);
  EXPECT_EQ(all.top_k, 40);
  EXPECT_EQ(all.min_p, 0.05);
  EXPECT_EQ(all.repetition_penalty, 1.1);
  for (const char* none : {"{}", R"({"eos_token_id": 3, "top_k": null})", R"({"top_k": -1})"}) {
    const SamplingParams neutral = ParseSamplingDefaults(none).value();
    EXPECT_EQ(neutral.temperature, 1) << none;
    EXPECT_EQ(neutral.top_k, 0) << none;
    EXPECT_EQ(neutral.top_p, 1) << none;
  }
  EXPECT_EQ(ParseSamplingDefaults(R"({"do_sample": false, "temperature": 0.7})")->temperature, 0);
}

TEST(ParseSamplingDefaultsTest, NamesWhatCanNotBeSampledBy) {
  for (const char* key : {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"}) {
    const auto bad = ParseSamplingDefaults(json({{key, -2}}).dump());
    EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(bad.status().message()), HasSubstr(key));
  }
}

TEST(OlmoeConfigTest, RefusesWhatItCannotServeByName) {
  const struct {
    const char* change;
    const char* named;     // the key
    const char* expected;  // and something else in the message
  } kCases[] = {
      {R"({"model_type": "llama"})", "model_type", "llama"},
      {R"({"architectures": ["MixtralForCausalLM"]})", "architectures", "Mixtral"},
      {R"({"architectures": "OlmoeForCausalLM"})", "architectures", "OlmoeForCausalLM"},
      {R"({"architectures": null, "model_type": null})", "model_type", "olmoe"},
      {R"({"hidden_act": "gelu"})", "hidden_act", "gelu"},
      {R"({"rope_scaling": {"type": "linear", "factor": 2.0}})", "rope_scaling", "linear"},
      {R"({"rope_scaling": {"rope_type": "yarn"}})", "rope_scaling", "yarn"},
      {R"({"rope_scaling": {"factor": 2.0}})", "rope_scaling", "factor"},
      {R"({"rope_scaling": 2.0})", "rope_scaling", "object"},
      {R"({"rope_parameters": {"rope_type": "llama3"}})", "rope_parameters", "llama3"},
      {R"({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}})", "rope_parameters",
       "full_attention"},
      {R"({"rope_parameters": {"rope_theta": 20000}})", "rope_parameters", "contradicts"},
      {R"({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}})",
       "rope_parameters", "partial_rotary_factor"},
      {R"({"partial_rotary_factor": 0.25})", "partial_rotary_factor", "0.25"},
      {R"({"quantization_config": {"quant_method": "gptq"}})", "quantization_config", "support"},
      {R"({"sliding_window": 128})", "sliding_window", "support"},
      {R"({"head_dim": 64})", "head_dim", "128"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.change);
    const absl::Status status = OlmoeConfig::FromJson(Patched(test.change)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), StartsWith(test.named));
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.expected));
  }
}

TEST(OlmoeConfigTest, RefusesHostileNumbersByName) {
  const std::vector<const char*> kIntegers = {"num_hidden_layers",
                                              "hidden_size",
                                              "intermediate_size",
                                              "num_attention_heads",
                                              "num_key_value_heads",
                                              "vocab_size",
                                              "num_experts",
                                              "num_experts_per_tok",
                                              "head_dim",
                                              "max_position_embeddings"};
  const std::vector<json> kBad = {
      0,          -1,   INT32_MAX, INT64_MAX, INT64_MIN,         UINT64_MAX,
      4294967312,  // 16 after truncation to 32 bits
      1e300,      16.5, true,      "16",      json::array({16}), json::object()};
  for (const char* key : kIntegers) {
    for (const json& bad : kBad) {
      SCOPED_TRACE(std::string(key) + " " + bad.dump());
      const absl::Status status = OlmoeConfig::FromJson(With(key, bad)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), StartsWith(key));
    }
  }
}

TEST(OlmoeConfigTest, RefusesOtherBadValuesByName) {
  const struct {
    const char* key;
    json value;
  } kCases[] = {
      {"rms_norm_eps", 0},       {"rms_norm_eps", -1e-5},
      {"rms_norm_eps", "small"}, {"rms_norm_eps", 2},
      {"rope_theta", 0},         {"rope_theta", -10000},
      {"rope_theta", 1e300},     {"rope_theta", true},
      {"clip_qkv", 0},           {"clip_qkv", -8},
      {"clip_qkv", 1e300},       {"clip_qkv", "8"},
      {"norm_topk_prob", 1},     {"norm_topk_prob", "false"},
      {"attention_bias", 0},     {"tie_word_embeddings", 0},
      {"eos_token_id", "</s>"},  {"eos_token_id", 1.5},
      {"eos_token_id", -2},      {"eos_token_id", UINT64_MAX},
      {"eos_token_id", {{1}}},   {"pad_token_id", true},
      {"num_experts", 1},        {"num_experts", 129},
      {"hidden_size", 1},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(std::string(test.key) + " " + test.value.dump());
    const absl::Status status = OlmoeConfig::FromJson(With(test.key, test.value)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), StartsWith(test.key));
  }
}

TEST(OlmoeConfigTest, RefusesSizesThatDoNotFitTogether) {
  const struct {
    const char* change;
    const char* named;
  } kCases[] = {
      {R"({"hidden_size": 2047})", "num_attention_heads"},
      {R"({"num_attention_heads": 24})", "num_attention_heads"},
      {R"({"num_key_value_heads": 3})", "num_key_value_heads"},
      {R"({"num_key_value_heads": 32})", "num_key_value_heads"},
      {R"({"hidden_size": 48, "num_attention_heads": 16})", "num_attention_heads"},  // head size 3
      {R"({"num_experts_per_tok": 65})", "num_experts_per_tok"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.change);
    const absl::Status status = OlmoeConfig::FromJson(Patched(test.change)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), StartsWith(test.named));
  }
}

TEST(OlmoeConfigTest, RefusesTextThatIsNotOneHarmlessObject) {
  const std::string published = Published().dump();
  const struct {
    std::string text;
    const char* expected;
  } kCases[] = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"null", "object"},
      {"[]", "object"},
      {"7", "object"},
      {published + "x", "not JSON"},
      {published + std::string(1, '\0') + "x", "NUL"},
      {published.substr(0, published.size() / 2), "not JSON"},
      {R"({"model_type": "olmoe", "model_type": "olmoe"})", R"(duplicate key "model_type")"},
      {R"({"model_type": "olmoe", "x": {"a": 1, "a": 2}})", R"(x: duplicate key "a")"},
      {R"({"model_type": "olmoe", "x": 1e999})", "not JSON"},
      {"{\"model_type\": \"ol\xff\"}", "not JSON"},
      {R"({"x": )" + std::string(100'000, '[') + "}", "deeper"},
      {R"({"x": [)" + std::string(400'000, ' ') + "0" +
           [] {
             std::string zeros;
             for (int i = 0; i < 200'000; ++i) zeros += ",0";
             return zeros;
           }() +
           "]}",
       "values"},
      {std::string(2 << 20, ' '), "bytes"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.text.substr(0, 100));
    const absl::Status status = OlmoeConfig::FromJson(test.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.expected));
    EXPECT_LT(status.message().size(), 400u);
  }
}

TEST(OlmoeConfigTest, MessagesAreOneLineOfPrintableText) {
  const absl::Status status =
      OlmoeConfig::FromJson(With("model_type", "a\nb\x01" + std::string(5000, 'c'))).status();
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  EXPECT_LT(status.message().size(), 300u);
}

// Whatever a damaged file holds: an error, or a config that keeps its promises.
TEST(OlmoeConfigTest, MutatedTextIsRefusedOrConsistent) {
  const std::string published = Published().dump();
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string text = published;
    for (uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    const absl::StatusOr<OlmoeConfig> config = OlmoeConfig::FromJson(text);
    if (!config.ok()) continue;
    ASSERT_EQ(config->head_size * config->num_heads, config->hidden_size) << text;
    ASSERT_EQ(config->num_heads % config->num_kv_heads, 0) << text;
    ASSERT_LE(config->experts_per_token, config->num_experts) << text;
    ASSERT_GE(config->num_experts, 2) << text;
    ASSERT_GT(config->rope_theta, 0) << text;
  }
}

}  // namespace
}  // namespace olmoe::model
