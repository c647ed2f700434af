#include "server/model/config.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/routing/rule.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"

namespace olmoe::model {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

// Bounds of the dimensions. The largest model within them has fewer than 2^57
// parameters, so no product or sum of sizes in bytes overflows an int64_t.
constexpr int kMaxLayers = 1024;
constexpr int kMaxWidth = 1 << 16;  // hidden_size, intermediate_size
constexpr int kMaxHeads = 1024;
constexpr int kMaxVocab = 1 << 24;
constexpr int kMaxPositions = 1 << 24;

// Absent and null both mean the default of transformers.
int IntegerOr(const JsonCursor& value, int fallback, int low, int high) {
  return value.IsNull() ? fallback : static_cast<int>(value.Integer(low, high));
}

double NumberOr(const JsonCursor& value, double fallback, double low, double high) {
  return value.IsNull() ? fallback : value.Number(low, high);
}

void FailUnlessOnly(bool is_known, std::string_view known, const JsonCursor& value) {
  if (is_known || value.IsNull()) return;
  value.Fail(absl::StrCat("only ", std::string(known), " is supported, is ", value.Shown()));
}

// Fails unless the value is absent or the only one that this server knows.
void ExpectOnly(std::string_view known, const JsonCursor& value) {
  FailUnlessOnly(value.IsString() && value.String() == known, Quoted(known), value);
}

void ExpectWholeRotary(const JsonCursor& value) {
  FailUnlessOnly(value.IsNumber() && value.Number() == 1, "1.0", value);
}

bool IsListOf(std::string_view known, const JsonCursor& value) {
  bool is_known = value.IsArray() && value.size() == 1;
  if (!is_known) return false;
  value.ForEach([&](const JsonCursor& element) {
    is_known = element.IsString() && element.String() == known;
  });
  return is_known;
}

void CheckArchitecture(const JsonCursor& root) {
  const JsonCursor type = root["model_type"], architectures = root["architectures"];
  if (type.IsNull() && architectures.IsNull()) type.Fail("missing, expected \"olmoe\"");
  ExpectOnly("olmoe", type);
  FailUnlessOnly(IsListOf("OlmoeForCausalLM", architectures), R"(["OlmoeForCausalLM"])",
                 architectures);
  ExpectOnly("silu", root["hidden_act"]);
  ExpectWholeRotary(root["partial_rotary_factor"]);
  for (const char* key : {"quantization_config", "sliding_window"}) {
    if (!root[key].IsNull()) root[key].Fail("not supported");
  }
}

void ReadDimensions(const JsonCursor& root, OlmoeConfig* config) {
  config->num_layers = IntegerOr(root["num_hidden_layers"], 16, 1, kMaxLayers);
  config->hidden_size = IntegerOr(root["hidden_size"], 2048, 2, kMaxWidth);
  config->intermediate_size = IntegerOr(root["intermediate_size"], 2048, 1, kMaxWidth);
  config->num_heads = IntegerOr(root["num_attention_heads"], 16, 1, kMaxHeads);
  config->num_kv_heads = IntegerOr(root["num_key_value_heads"], config->num_heads, 1, kMaxHeads);
  config->vocab_size = IntegerOr(root["vocab_size"], 50304, 1, kMaxVocab);
  config->num_experts = IntegerOr(root["num_experts"], 64, 2, routing::kMaxExperts);
  config->experts_per_token = IntegerOr(root["num_experts_per_tok"], 8, 1, routing::kMaxExperts);
  config->max_positions = IntegerOr(root["max_position_embeddings"], 4096, 1, kMaxPositions);
}

// Fails at `value` unless the sizes fit together.
void Check(bool fits, const JsonCursor& value, const std::string& what) {
  if (!fits) value.Fail(what);
}

void CheckHeads(const JsonCursor& root, OlmoeConfig* config) {
  const int hidden = config->hidden_size;
  const int heads = config->num_heads;
  const JsonCursor heads_field = root["num_attention_heads"];
  Check(config->experts_per_token <= config->num_experts, root["num_experts_per_tok"],
        absl::StrCat(config->experts_per_token, " is more than num_experts ", config->num_experts));
  Check(hidden % heads == 0, heads_field,
        absl::StrCat("hidden_size ", hidden, " is not divisible by ", heads));
  Check(heads % config->num_kv_heads == 0, root["num_key_value_heads"],
        absl::StrCat("num_attention_heads ", heads, " is not divisible by ", config->num_kv_heads));
  config->head_size = hidden / heads;
  Check(config->head_size % 2 == 0, heads_field,
        absl::StrCat("head size ", config->head_size, " (hidden_size / num_attention_heads) ",
                     "is odd: rope needs pairs"));
  // OLMoE's q_norm and k_norm fix the head size: it cannot be chosen freely.
  const int head_dim = IntegerOr(root["head_dim"], config->head_size, 1, kMaxWidth);
  Check(head_dim == config->head_size, root["head_dim"],
        absl::StrCat("must be hidden_size / num_attention_heads = ", config->head_size, ", is ",
                     head_dim));
}

void ReadNumerics(const JsonCursor& root, OlmoeConfig* config) {
  config->norm_topk_prob = root["norm_topk_prob"].BoolOr(false);
  config->attention_bias = root["attention_bias"].BoolOr(false);
  config->tie_word_embeddings = root["tie_word_embeddings"].BoolOr(false);
  config->rms_norm_eps = NumberOr(root["rms_norm_eps"], 1e-5, 1e-12, 1);
  constexpr double kMaxClip = std::numeric_limits<float>::max();
  const JsonCursor clip = root["clip_qkv"];
  if (!clip.IsNull()) config->clip_qkv = clip.Number(1e-6, kMaxClip);
}

std::optional<double> ReadTheta(const JsonCursor& theta) {
  if (theta.IsNull()) return std::nullopt;
  return theta.Number(1, 1e15);
}

// `rope` is rope_scaling (older transformers) or rope_parameters: an object that must say
// "default", and may hold rope_theta.
std::optional<double> ReadRopeObject(const JsonCursor& rope) {
  if (rope.IsNull()) return std::nullopt;
  ExpectOnly("default", rope["rope_type"]);
  ExpectOnly("default", rope["type"]);
  ExpectWholeRotary(rope["partial_rotary_factor"]);
  const std::optional<double> theta = ReadTheta(rope["rope_theta"]);
  rope.ForEachField([&](const std::string& name, const JsonCursor& value) {
    const bool known = name == "rope_type" || name == "type" || name == "rope_theta" ||
                       name == "partial_rotary_factor";
    if (!known && !value.IsNull()) value.Fail("not supported");
  });
  return theta;
}

void ReadRope(const JsonCursor& root, OlmoeConfig* config) {
  std::optional<double> theta = ReadTheta(root["rope_theta"]);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const std::optional<double> nested = ReadRopeObject(root[key]);
    if (!nested.has_value()) continue;
    Check(theta.value_or(*nested) == *nested, root[key],
          absl::StrCat("rope_theta ", *nested, " contradicts ", theta.value_or(0)));
    theta = nested;
  }
  config->rope_theta = theta.value_or(10000);
}

// Ids beyond the vocabulary are allowed.
std::optional<int64_t> ReadTokenId(const JsonCursor& value) {
  constexpr int64_t kNone = -1;  // what some tools write
  const int64_t id = value.Integer(kNone, INT32_MAX);
  return id == kNone ? std::nullopt : std::optional(id);
}

// An id, a list, or null.
std::vector<int64_t> ReadTokenIds(const JsonCursor& value) {
  std::vector<int64_t> ids;
  const auto add = [&ids](const JsonCursor& element) {
    const std::optional<int64_t> id = ReadTokenId(element);
    if (id.has_value()) ids.push_back(*id);
  };
  if (value.IsArray()) {
    value.ForEach(add);
  } else if (!value.IsNull()) {
    add(value);
  }
  return ids;
}

std::vector<int64_t> ReadTokenIdsOr(const JsonCursor& value, int64_t absent) {
  return value.IsAbsent() ? std::vector<int64_t>{absent} : ReadTokenIds(value);
}

std::optional<int64_t> FirstOf(const std::vector<int64_t>& ids) {
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

absl::StatusOr<JsonDocument> ParseJson(std::string_view text) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(text.size(), " bytes, at most ", kMaxConfigBytes, " expected"));
  }
  return JsonDocument::Parse(text, {.max_depth = 16, .max_values = 100'000});
}

}  // namespace

absl::StatusOr<OlmoeConfig> OlmoeConfig::FromJson(std::string_view text) {
  const absl::StatusOr<JsonDocument> document = ParseJson(text);
  if (!document.ok()) return document.status();
  absl::Status first_error;
  const JsonCursor root(*document, &first_error);
  OlmoeConfig config;
  CheckArchitecture(root);
  ReadDimensions(root, &config);
  if (root.ok()) CheckHeads(root, &config);
  ReadNumerics(root, &config);
  ReadRope(root, &config);
  config.end_token_ids = ReadTokenIdsOr(root["eos_token_id"], 50279);
  config.eos_token_id = FirstOf(config.end_token_ids);
  config.pad_token_id = FirstOf(ReadTokenIdsOr(root["pad_token_id"], 1));
  if (!first_error.ok()) return first_error;
  return config;
}

absl::Status OlmoeConfig::TakeGenerationConfig(std::string_view text) {
  const absl::StatusOr<JsonDocument> document = ParseJson(text);
  if (!document.ok()) return document.status();
  absl::Status first_error;
  const std::vector<int64_t> ids =
      ReadTokenIds(JsonCursor(*document, &first_error)["eos_token_id"]);
  if (!first_error.ok()) return first_error;
  if (!ids.empty()) end_token_ids = ids;
  return absl::OkStatus();
}

absl::StatusOr<SamplingParams> ParseSamplingDefaults(std::string_view text) {
  constexpr double kMost = std::numeric_limits<float>::max(), kLeast = 1e-9;
  const absl::StatusOr<JsonDocument> document = ParseJson(text);
  if (!document.ok()) return document.status();
  absl::Status first_error;
  const JsonCursor root(*document, &first_error);
  SamplingParams params;
  params.temperature = NumberOr(root["temperature"], params.temperature, 0, kMost);
  params.top_p = NumberOr(root["top_p"], params.top_p, kLeast, 1);
  // Some tools write -1 for "all".
  params.top_k = std::max(0, IntegerOr(root["top_k"], params.top_k, -1, kMaxVocab));
  params.min_p = NumberOr(root["min_p"], params.min_p, 0, 1);
  params.repetition_penalty =
      NumberOr(root["repetition_penalty"], params.repetition_penalty, kLeast, kMost);
  if (!root["do_sample"].BoolOr(true)) params.temperature = 0;
  if (!first_error.ok()) return first_error;
  return params;
}

}  // namespace olmoe::model
