#include "server/model/config.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/model/file_errors.h"
#include "server/model/strict_json.h"
#include "server/routing/rule.h"

namespace olmoe::model {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = 1 << 20;

// Bounds of the dimensions. The largest model within them has fewer than 2^57
// parameters, so no product or sum of sizes in bytes overflows an int64_t.
constexpr int kMaxLayers = 1024;
constexpr int kMaxWidth = 1 << 16;  // hidden_size, intermediate_size
constexpr int kMaxHeads = 1024;
constexpr int kMaxVocab = 1 << 24;
constexpr int kMaxPositions = 1 << 24;

// Checks that the text is harmless to hold as a tree: depth and number of values are
// bounded, no object has a key twice. Accepts every kind of value. Thread-compatible.
class HarmlessJson final : public StrictJsonHandler {
 public:
  HarmlessJson() : StrictJsonHandler({.max_depth = 16, .max_values = 100'000}) {}

 private:
  bool OnNull() override { return true; }
  bool OnBool(bool) override { return true; }
  bool OnUnsigned(uint64_t) override { return true; }
  bool OnOtherNumber(double) override { return true; }
  bool OnString(std::string&) override { return true; }
  bool OnStartArray() override { return depth() > 0 || Unexpected("an array"); }
  bool OnStartObject() override {
    keys_.emplace_back();
    return true;
  }
  bool OnEndObject() override {
    keys_.pop_back();
    return true;
  }
  bool OnKey(std::string& key) override {
    return keys_.back().insert(key).second ||
           Fail(absl::StrCat("duplicate key ", Printable(key)));
  }

  std::vector<absl::flat_hash_set<std::string>> keys_;  // of the objects now open
};

std::string Dump(const json& value) {
  return Printable(value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace));
}

// Reads keys of one JSON object and keeps the first error, so that the list of keys
// reads as a list. After an error the values it gives are the defaults.
// Thread-compatible.
class KeyReader {
 public:
  explicit KeyReader(const json& object) : object_(object) {}

  const absl::Status& status() const { return status_; }

  // Null where the key is absent or null.
  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  int Int(const char* key, int fallback, int low, int high) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (value->is_number_integer() && IsWithin(*value, low, high)) return value->get<int>();
    Fail(key, absl::StrCat("must be an integer from ", low, " to ", high, ", is ", Dump(*value)));
    return fallback;
  }

  double Double(const char* key, double fallback, double low, double high) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (value->is_number() && value->get<double>() >= low && value->get<double>() <= high) {
      return value->get<double>();
    }
    Fail(key, absl::StrCat("must be a number from ", low, " to ", high, ", is ", Dump(*value)));
    return fallback;
  }

  bool Bool(const char* key, bool fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (value->is_boolean()) return value->get<bool>();
    Fail(key, absl::StrCat("must be true or false, is ", Dump(*value)));
    return fallback;
  }

  // The only value this server knows, or absent.
  void Only(const char* key, const json& known) {
    const json* value = Find(key);
    if (value == nullptr || *value == known) return;
    Fail(key, absl::StrCat("only ", Dump(known), " is supported, is ", Dump(*value)));
  }

  void Fail(const char* key, const std::string& what) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(key, ": ", what));
  }

  void Check(bool condition, const char* key, const std::string& what) {
    if (!condition) Fail(key, what);
  }

 private:
  static bool IsWithin(const json& value, int low, int high) {
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT32_MAX}) return false;
    return value.get<int64_t>() >= low && value.get<int64_t>() <= high;
  }

  const json& object_;
  absl::Status status_;
};

void CheckArchitecture(KeyReader* keys) {
  keys->Check(keys->Find("model_type") != nullptr || keys->Find("architectures") != nullptr,
              "model_type", "missing, expected \"olmoe\"");
  keys->Only("model_type", "olmoe");
  keys->Only("architectures", json::array({"OlmoeForCausalLM"}));
  keys->Only("hidden_act", "silu");
  keys->Only("partial_rotary_factor", 1.0);
  for (const char* key : {"quantization_config", "sliding_window"}) {
    const json* value = keys->Find(key);
    keys->Check(value == nullptr, key, "not supported");
  }
}

void ReadDimensions(KeyReader* keys, OlmoeConfig* config) {
  config->num_layers = keys->Int("num_hidden_layers", 16, 1, kMaxLayers);
  config->hidden_size = keys->Int("hidden_size", 2048, 2, kMaxWidth);
  config->intermediate_size = keys->Int("intermediate_size", 2048, 1, kMaxWidth);
  config->num_heads = keys->Int("num_attention_heads", 16, 1, kMaxHeads);
  config->num_kv_heads = keys->Int("num_key_value_heads", config->num_heads, 1, kMaxHeads);
  config->vocab_size = keys->Int("vocab_size", 50304, 1, kMaxVocab);
  config->num_experts = keys->Int("num_experts", 64, 2, routing::kMaxExperts);
  config->experts_per_token = keys->Int("num_experts_per_tok", 8, 1, routing::kMaxExperts);
  config->max_positions = keys->Int("max_position_embeddings", 4096, 1, kMaxPositions);
}

void CheckHeads(KeyReader* keys, OlmoeConfig* config) {
  const int hidden = config->hidden_size;
  const int heads = config->num_heads;
  keys->Check(config->experts_per_token <= config->num_experts, "num_experts_per_tok",
              absl::StrCat(config->experts_per_token, " is more than num_experts ",
                           config->num_experts));
  keys->Check(hidden % heads == 0, "num_attention_heads",
              absl::StrCat("hidden_size ", hidden, " is not divisible by ", heads));
  keys->Check(heads % config->num_kv_heads == 0, "num_key_value_heads",
              absl::StrCat("num_attention_heads ", heads, " is not divisible by ",
                           config->num_kv_heads));
  config->head_size = hidden / heads;
  keys->Check(config->head_size % 2 == 0, "num_attention_heads",
              absl::StrCat("head size ", config->head_size, " (hidden_size / num_attention_heads) ",
                           "is odd: rope needs pairs"));
  // OLMoE's q_norm and k_norm fix the head size: it cannot be chosen freely.
  const int head_dim = keys->Int("head_dim", config->head_size, 1, kMaxWidth);
  keys->Check(head_dim == config->head_size, "head_dim",
              absl::StrCat("must be hidden_size / num_attention_heads = ", config->head_size,
                           ", is ", head_dim));
}

void ReadNumerics(KeyReader* keys, OlmoeConfig* config) {
  config->norm_topk_prob = keys->Bool("norm_topk_prob", false);
  config->attention_bias = keys->Bool("attention_bias", false);
  config->tie_word_embeddings = keys->Bool("tie_word_embeddings", false);
  config->rms_norm_eps = keys->Double("rms_norm_eps", 1e-5, 1e-12, 1);
  constexpr double kMaxClip = std::numeric_limits<float>::max();
  if (keys->Find("clip_qkv") != nullptr) {
    config->clip_qkv = keys->Double("clip_qkv", 1, 1e-6, kMaxClip);
  }
}

// `key` is rope_scaling (older transformers) or rope_parameters: an object that must
// say "default", and may hold rope_theta.
std::optional<double> ReadRopeObject(KeyReader* keys, const char* key) {
  const json* object = keys->Find(key);
  if (object == nullptr) return std::nullopt;
  if (!object->is_object()) {
    keys->Fail(key, absl::StrCat("must be an object, is ", Dump(*object)));
    return std::nullopt;
  }
  KeyReader rope(*object);
  rope.Only("rope_type", "default");
  rope.Only("type", "default");
  rope.Only("partial_rotary_factor", 1.0);
  std::optional<double> theta;
  if (rope.Find("rope_theta") != nullptr) theta = rope.Double("rope_theta", 10000, 1, 1e15);
  for (const auto& [name, value] : object->items()) {
    const bool known = name == "rope_type" || name == "type" || name == "rope_theta" ||
                       name == "partial_rotary_factor";
    rope.Check(known || value.is_null(), "unsupported key", Printable(name));
  }
  if (!rope.status().ok()) keys->Fail(key, std::string(rope.status().message()));
  return theta;
}

void ReadRope(KeyReader* keys, OlmoeConfig* config) {
  std::optional<double> theta;
  if (keys->Find("rope_theta") != nullptr) theta = keys->Double("rope_theta", 10000, 1, 1e15);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const std::optional<double> nested = ReadRopeObject(keys, key);
    if (!nested.has_value()) continue;
    keys->Check(theta.value_or(*nested) == *nested, key,
                absl::StrCat("rope_theta ", *nested, " contradicts ", theta.value_or(0)));
    theta = nested;
  }
  config->rope_theta = theta.value_or(10000);
}

// An id, or null. Ids beyond the vocabulary are allowed.
std::optional<int64_t> ReadTokenId(KeyReader* keys, const char* key, int64_t fallback,
                                   const json& object) {
  if (!object.contains(key)) return fallback;
  const json* value = keys->Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array() && value->empty()) return std::nullopt;
  const json& id = value->is_array() ? value->front() : *value;
  if (id.is_number_unsigned() && id.get<uint64_t>() <= uint64_t{INT32_MAX}) {
    return id.get<int64_t>();
  }
  // What some tools write for "none".
  if (!id.is_number_unsigned() && id.is_number_integer() && id.get<int64_t>() == -1) {
    return std::nullopt;
  }
  keys->Fail(key, absl::StrCat("must be a token id, a list of them, or null, is ", Dump(*value)));
  return std::nullopt;
}

absl::StatusOr<json> ParseObject(std::string_view text) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(text.size(), " bytes, at most ", kMaxConfigBytes, " expected"));
  }
  HarmlessJson harmless;
  const absl::Status status = ParseStrictJson(text, &harmless);
  if (!status.ok()) return status;
  json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("must be a JSON object");
  return object;
}

}  // namespace

absl::StatusOr<OlmoeConfig> OlmoeConfig::FromJson(std::string_view text) {
  absl::StatusOr<json> object = ParseObject(text);
  if (!object.ok()) return object.status();
  KeyReader keys(*object);
  OlmoeConfig config;
  CheckArchitecture(&keys);
  ReadDimensions(&keys, &config);
  if (keys.status().ok()) CheckHeads(&keys, &config);
  ReadNumerics(&keys, &config);
  ReadRope(&keys, &config);
  config.eos_token_id = ReadTokenId(&keys, "eos_token_id", 50279, *object);
  config.pad_token_id = ReadTokenId(&keys, "pad_token_id", 1, *object);
  if (!keys.status().ok()) return keys.status();
  return config;
}

}  // namespace olmoe::model
