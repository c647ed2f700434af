#ifndef OLMOE_SERVER_TEXT_VOCABULARY_H_
#define OLMOE_SERVER_TEXT_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/util/token_id.h"

namespace olmoe::text {

// What is known of each token id. Every accessor takes any id: one without a token
// has no bytes and is not special. Thread-compatible; immutable once filled.
class Vocabulary {
 public:
  // `content` as the vocabulary file has it: in the byte-level alphabet, or, with
  // any character outside of it, literal text. Replaces what `id` had; `id` >= 0.
  void Set(TokenId id, std::string_view content, bool special);

  // One more than the largest id that has a token.
  int size() const { return static_cast<int>(tokens_.size()); }

  bool Has(TokenId id) const { return Find(id) != nullptr; }
  bool IsSpecial(TokenId id) const { return Get(id).special; }
  std::string_view Bytes(TokenId id) const { return Get(id).bytes; }

  // White space characters at the token's two ends. A byte written in the alphabet
  // counts only if it is a space.
  uint32_t LeadingSpaces(TokenId id) const { return Get(id).leading_spaces; }
  uint32_t TrailingSpaces(TokenId id) const { return Get(id).trailing_spaces; }

 private:
  struct Token {
    std::string bytes;
    uint32_t leading_spaces = 0;
    uint32_t trailing_spaces = 0;
    bool special = false;
    bool exists = false;
  };
  const Token* Find(TokenId id) const;
  const Token& Get(TokenId id) const;

  std::vector<Token> tokens_;  // by id
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_VOCABULARY_H_
