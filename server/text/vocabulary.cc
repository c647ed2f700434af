#include "server/text/vocabulary.h"

#include <optional>
#include <utility>

#include "glog/logging.h"
#include "server/text/byte_alphabet.h"
#include "server/text/unicode.h"
#include "server/util/utf8.h"

namespace olmoe::text {
namespace {

constexpr char32_t kAlphabetSpace = 0x120;  // the space of the byte-level alphabet

}  // namespace

SpaceCounts CountSpaces(std::string_view content) {
  SpaceCounts counts;
  uint32_t characters = 0;
  for (size_t position = 0; position < content.size(); ++characters) {
    const char32_t c = NextCodePoint(content, &position);
    const bool is_space = c == kAlphabetSpace || IsWhiteSpace(c);
    if (is_space && counts.leading == characters) ++counts.leading;
    counts.trailing = is_space ? counts.trailing + 1 : 0;
  }
  return counts;
}

void Vocabulary::Set(TokenId id, std::string_view content, bool special) {
  CHECK_GE(id, 0);
  if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(id + 1);
  std::optional<std::string> bytes = BytesFromAlphabet(content);
  tokens_[id] = {.bytes = bytes.has_value() ? *std::move(bytes) : std::string(content),
                 .spaces = CountSpaces(content),
                 .special = special,
                 .exists = true};
}

const Vocabulary::Token* Vocabulary::Find(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= tokens_.size()) return nullptr;
  return tokens_[id].exists ? &tokens_[id] : nullptr;
}

const Vocabulary::Token& Vocabulary::Get(TokenId id) const {
  static const Token* const none = new Token;
  const Token* token = Find(id);
  return token == nullptr ? *none : *token;
}

}  // namespace olmoe::text
