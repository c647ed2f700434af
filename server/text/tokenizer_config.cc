#include "server/text/tokenizer_config.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/util/file_errors.h"
#include "server/util/file_reader.h"
#include "server/util/json_cursor.h"

namespace olmoe::text {
namespace {

// Of what is read: chat templates have some KiB, thousands of added tokens a few MiB.
constexpr uint64_t kMaxFileBytes = 64 << 20;
constexpr JsonLimits kLimits = {.max_depth = 64, .max_values = 4 << 20};

struct TokenizerConfig {
  bool uses_template = true;
  bool add_bos_token = false;
  bool add_eos_token = false;
};

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view json) {
  const absl::StatusOr<JsonDocument> document = JsonDocument::Parse(json, kLimits);
  if (!document.ok()) return document.status();
  absl::Status first_error;
  const JsonCursor root(*document, &first_error);
  const JsonCursor name = root["tokenizer_class"];
  const bool chosen_by_model = name.IsNull();
  const bool is_gpt_neox = chosen_by_model || name.String() == "GPTNeoXTokenizer" ||
                           name.String() == "GPTNeoXTokenizerFast";
  const TokenizerConfig config = {.uses_template = !is_gpt_neox,
                                  .add_bos_token = root["add_bos_token"].BoolOr(false),
                                  .add_eos_token = root["add_eos_token"].BoolOr(false)};
  if (!first_error.ok()) return first_error;
  return config;
}

}  // namespace

absl::Status ApplyTokenizerConfig(const std::string& path, TokenizerSpec* spec) {
  const absl::StatusOr<std::string> json = ReadSmallFile(path, kMaxFileBytes);
  if (absl::IsNotFound(json.status())) return absl::OkStatus();
  if (!json.ok()) return json.status();
  const absl::StatusOr<TokenizerConfig> config = ParseTokenizerConfig(*json);
  if (!config.ok()) return WithPath(path, config.status());
  SpecialTokensTemplate& added = spec->special_tokens;
  const bool has_template = !added.before.empty() || !added.after.empty();
  const bool is_wanted = config->add_bos_token || config->add_eos_token;
  if (config->uses_template || (!has_template && !is_wanted)) return absl::OkStatus();
  added = {};
  spec->notes.push_back(absl::StrCat(
      "no special tokens are added to texts, as by AutoTokenizer's GPTNeoXTokenizer",
      has_template ? ", which does not use the post_processor's template" : "",
      is_wanted ? "; of add_bos_token and add_eos_token it takes no notice" : "",
      " (a tokenizer_class PreTrainedTokenizerFast in tokenizer_config.json uses the template)"));
  return absl::OkStatus();
}

}  // namespace olmoe::text
