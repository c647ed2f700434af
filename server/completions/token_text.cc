#include "server/completions/token_text.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/completions/json_writer.h"
#include "server/util/utf8.h"

namespace olmoe::completions {
namespace {

void AppendElement(const std::string& json, std::string* array) {
  if (!array->empty() && !json.empty()) *array += ',';
  *array += json;
}

}  // namespace

std::string TokenText(TokenId token, const text::Tokenizer* tokenizer) {
  const std::string_view bytes = tokenizer == nullptr ? "" : tokenizer->TokenBytes(token);
  if (bytes.empty()) return absl::StrCat("token_id:", token);
  if (IsWellFormedUtf8(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const char byte : bytes) {
    absl::StrAppend(&text, "\\x", absl::Hex(static_cast<unsigned char>(byte), absl::kZeroPad2));
  }
  return text;
}

TextOffsets::TextOffsets(const text::Tokenizer* tokenizer, bool skip_special_tokens, size_t first)
    : position_(first) {
  if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, skip_special_tokens);
}

size_t TextOffsets::Add(TokenId token, std::string* text) {
  const size_t begin = position_;
  if (!detokenizer_) return begin;
  const std::string whole = detokenizer_->Add(token);
  position_ += CountCodePoints(whole);
  if (text != nullptr) *text += whole;
  return begin;
}

size_t TextOffsets::End(std::string* text) {
  if (!detokenizer_) return position_;
  const std::string rest = detokenizer_->Flush();
  position_ += CountCodePoints(rest);
  *text += rest;
  return position_;
}

void LogprobArrays::Add(TokenId token, std::optional<float> logprob,
                        std::span<const model::TokenLogprob> top, size_t offset) {
  const std::string text = TokenText(token, tokenizer_);
  AppendElement(JsonWriter().String(text).Take(), &tokens_);
  AppendElement(absl::StrCat(offset), &text_offset_);
  if (!logprob) {
    AppendElement("null", &token_logprobs_);
    AppendElement("null", &top_logprobs_);
    return;
  }
  AppendElement(JsonWriter().Float(*logprob).Take(), &token_logprobs_);
  std::vector<std::pair<std::string, float>> by_text;
  const auto add = [&by_text](std::string name, float value) {
    const auto found = std::ranges::find(by_text, name, &std::pair<std::string, float>::first);
    if (found == by_text.end()) {
      by_text.emplace_back(std::move(name), value);
    } else {
      found->second = std::max(found->second, value);
    }
  };
  for (const model::TokenLogprob& other : top) {
    add(TokenText(other.token, tokenizer_), other.logprob);
  }
  add(text, *logprob);
  JsonWriter json;
  json.BeginObject();
  for (const auto& [name, value] : by_text) json.Key(name).Float(value);
  AppendElement(json.EndObject().Take(), &top_logprobs_);
}

void LogprobArrays::Append(const LogprobArrays& next) {
  AppendElement(next.tokens_, &tokens_);
  AppendElement(next.token_logprobs_, &token_logprobs_);
  AppendElement(next.top_logprobs_, &top_logprobs_);
  AppendElement(next.text_offset_, &text_offset_);
}

std::string LogprobArrays::Json() const {
  return absl::StrCat("{\"tokens\":[", tokens_, "],\"token_logprobs\":[", token_logprobs_,
                      "],\"top_logprobs\":[", top_logprobs_, "],\"text_offset\":[", text_offset_,
                      "]}");
}

void LogprobArrays::Clear() { *this = LogprobArrays(tokenizer_); }

}  // namespace olmoe::completions
