#ifndef OLMOE_SERVER_TEXT_VOCABULARY_H_
#define OLMOE_SERVER_TEXT_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/util/token_id.h"

namespace olmoe::text {

// White space characters at the two ends of a token as a vocabulary file has it: a byte written
// in the alphabet counts only if it is a space.
struct SpaceCounts {
  uint32_t leading = 0;
  uint32_t trailing = 0;
};
SpaceCounts CountSpaces(std::string_view content);

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

  SpaceCounts Spaces(TokenId id) const { return Get(id).spaces; }

 private:
  struct Token {
    std::string bytes;
    SpaceCounts spaces;
    bool special = false;
    bool exists = false;
  };
  const Token* Find(TokenId id) const;
  const Token& Get(TokenId id) const;

  std::vector<Token> tokens_;  // by id
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_VOCABULARY_H_
