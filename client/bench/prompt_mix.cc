#include "client/bench/prompt_mix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/notation/text.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::bench {
namespace {

using nlohmann::json;

constexpr std::array kBuiltIn = {
    "Once upon a time there was a little fox who lived in a hole under an old oak tree.",
    "The old hen sat by the door of the barn and looked at the rain.",
    "\"Good morning,\" said the frog. \"Where are you going today?\"",
    "In a house at the edge of the forest there lived a woodcutter and his three daughters. "
    "Every winter, when the snow was deep, they sat by the fire and told each other stories.",
};

bool IsUint32(const json& value) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() <= std::numeric_limits<uint32_t>::max();
}

// What is wrong, or nothing.
std::string ReadIds(const std::string& name, const json& value, std::vector<uint32_t>* ids) {
  if (!value.is_array() || value.empty() || !std::all_of(value.begin(), value.end(), IsUint32)) {
    return name + " must be token ids";
  }
  *ids = value.get<std::vector<uint32_t>>();
  return "";
}

std::string ReadText(const std::string& name, const json& value, std::string* text) {
  if (!value.is_string() || value.get<std::string>().empty()) {
    return name + " must be a string that is not empty";
  }
  *text = value.get<std::string>();
  return "";
}

std::string ReadField(const std::string& name, const json& value, Prompt* prompt) {
  if (name == "prompt") return ReadText(name, value, &prompt->text);
  if (name == "token_ids") return ReadIds(name, value, &prompt->ids);
  if (name == "continuation") return ReadText(name, value, &prompt->continuation);
  if (name == "continuation_token_ids") return ReadIds(name, value, &prompt->continuation_ids);
  if (name == "max_new_tokens") {
    if (!IsUint32(value) || value == 0) return "max_new_tokens must be a whole number from 1 on";
    prompt->max_new_tokens = value.get<uint32_t>();
    return "";
  }
  if (name == "weight") {
    if (!value.is_number() || !(value.get<double>() > 0)) return "weight must be above 0";
    prompt->weight = value.get<double>();
    return "";
  }
  if (name == "method") {
    if (value != "generate" && value != "score") return "method must be generate or score";
    prompt->is_score = value == "score";
    return "";
  }
  return absl::StrCat("there is no field ", name);
}

std::string ReadPrompt(std::string_view line, Prompt* prompt) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return "must be a JSON object";
  for (const auto& [name, value] : object.items()) {
    std::string problem = ReadField(name, value, prompt);
    if (!problem.empty()) return problem;
  }
  if (prompt->text.empty() == prompt->ids.empty()) return "needs prompt or token_ids, and not both";
  if (!prompt->continuation.empty() && !prompt->continuation_ids.empty()) {
    return "has two continuations";
  }
  const bool continues = !prompt->continuation.empty() || !prompt->continuation_ids.empty();
  if (continues && !prompt->is_score) return "has a continuation, so method must be score";
  if (prompt->is_score && prompt->max_new_tokens != 0) return "max_new_tokens is not for score";
  return "";
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
    } else if (const std::string problem = ReadPrompt(line, &prompt); !problem.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", lines.number(), ": ", problem));
    }
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
