#include "client/bench/prompt_mix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/notation/json_numbers.h"
#include "client/notation/text.h"

namespace olmoe::client::bench {
namespace {

constexpr std::array kBuiltIn = {
    "Once upon a time there was a little fox who lived in a hole under an old oak tree.",
    "The old hen sat by the door of the barn and looked at the rain.",
    "\"Good morning,\" said the frog. \"Where are you going today?\"",
    "In a house at the edge of the forest there lived a woodcutter and his three daughters. "
    "Every winter, when the snow was deep, they sat by the fire and told each other stories.",
};

uint32_t ReadUint32(const JsonCursor& value, uint32_t low) {
  return static_cast<uint32_t>(value.Unsigned(low, std::numeric_limits<uint32_t>::max()));
}

void ReadIds(const JsonCursor& value, std::vector<uint32_t>* ids) {
  value.ForEach([ids](const JsonCursor& id) { ids->push_back(ReadUint32(id, 0)); });
  if (ids->empty()) value.Fail("must be token ids");
}

void ReadText(const JsonCursor& value, std::string* text) {
  *text = value.String();
  if (text->empty()) value.Fail("must not be empty");
}

void ReadField(const std::string& name, const JsonCursor& value, Prompt* prompt) {
  if (name == "prompt") return ReadText(value, &prompt->text);
  if (name == "token_ids") return ReadIds(value, &prompt->ids);
  if (name == "continuation") return ReadText(value, &prompt->continuation);
  if (name == "continuation_token_ids") return ReadIds(value, &prompt->continuation_ids);
  if (name == "max_new_tokens") {
    prompt->max_new_tokens = ReadUint32(value, 1);
  } else if (name == "weight") {
    prompt->weight = value.Number();
    if (!(prompt->weight > 0)) value.Fail("must be above 0");
  } else if (name == "method") {
    const std::string method = value.String();
    if (method != "generate" && method != "score") value.Fail("must be generate or score");
    prompt->is_score = method == "score";
  } else {
    value.Fail("there is no such field");
  }
}

void ReadPrompt(const JsonCursor& line, Prompt* prompt) {
  line.ForEachField([prompt](const std::string& name, const JsonCursor& value) {
    ReadField(name, value, prompt);
  });
  if (prompt->text.empty() == prompt->ids.empty()) {
    return line.Fail("needs prompt or token_ids, and not both");
  }
  if (!prompt->continuation.empty() && !prompt->continuation_ids.empty()) {
    return line.Fail("has two continuations");
  }
  const bool continues = !prompt->continuation.empty() || !prompt->continuation_ids.empty();
  if (continues && !prompt->is_score) {
    return line.Fail("has a continuation, so method must be score");
  }
  if (prompt->is_score && prompt->max_new_tokens != 0) {
    return line.Fail("max_new_tokens is not for score");
  }
}

}  // namespace

PromptMix::PromptMix(std::vector<Prompt> prompts) : prompts_(std::move(prompts)) {
  double sum = 0;
  for (const Prompt& prompt : prompts_) ends_.push_back(sum += prompt.weight);
}

PromptMix PromptMix::BuiltIn() {
  std::vector<Prompt> prompts;
  for (const char* text : kBuiltIn) prompts.emplace_back().text = text;
  return PromptMix(std::move(prompts));
}

absl::StatusOr<PromptMix> PromptMix::Parse(std::string_view text, bool is_jsonl) {
  std::vector<Prompt> prompts;
  notation::Lines lines(text);
  for (std::string_view line; lines.Next(&line);) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    Prompt& prompt = prompts.emplace_back();
    if (!is_jsonl) {
      prompt.text = std::string(line);
      continue;
    }
    const auto status = ReadJson(line, notation::kJsonLimits, [&prompt](const JsonCursor& value) {
      ReadPrompt(value, &prompt);
    });
    if (status.ok()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("line ", lines.number(), ": ", status.message()));
  }
  if (prompts.empty()) return absl::InvalidArgumentError("holds no prompt");
  return PromptMix(std::move(prompts));
}

const Prompt& PromptMix::Draw(eval::Random* random) const {
  const double point = random->Uniform() * ends_.back();
  const auto end = std::upper_bound(ends_.begin(), ends_.end() - 1, point);
  return prompts_[static_cast<size_t>(end - ends_.begin())];
}

bool PromptMix::HasText() const {
  return std::any_of(prompts_.begin(), prompts_.end(), [](const Prompt& prompt) {
    return !prompt.text.empty() || !prompt.continuation.empty();
  });
}

}  // namespace olmoe::client::bench
