#include <utility>

#include "server/text/tokenizer.h"
#include "server/util/utf8.h"

namespace olmoe::text {

StreamingDetokenizer::StreamingDetokenizer(const Tokenizer* tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamingDetokenizer::Add(TokenId id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return "";
  std::string bytes = std::exchange(held_back_, "");
  bytes += tokenizer_->TokenBytes(id);
  const size_t complete = CompleteUtf8Prefix(bytes);
  held_back_ = bytes.substr(complete);
  bytes.resize(complete);
  return LossyUtf8(bytes);
}

std::string StreamingDetokenizer::Flush() { return LossyUtf8(std::exchange(held_back_, "")); }

}  // namespace olmoe::text
