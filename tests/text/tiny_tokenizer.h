// A tokenizer.json small enough to read, for tests that need no file.
#ifndef OLMOE_TESTS_TEXT_TINY_TOKENIZER_H_
#define OLMOE_TESTS_TEXT_TINY_TOKENIZER_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "server/text/tokenizer.h"

namespace olmoe::text::testing {

inline constexpr TokenId kEndOfText = 0;  // "<|endoftext|>"
inline constexpr TokenId kPadding = 1;    // "<|padding|>"
inline constexpr TokenId kTwoSpaces = 2;  // an added token, not special

// Id of the token of one byte.
constexpr TokenId ByteId(unsigned char byte) { return 3 + byte; }

// Shaped like the demo model's: NFC, ByteLevel, the template `<|endoftext|> $A`.
// Tokens: those above, the 256 bytes, and after them, in this order, "th", "the",
// " t", " the", "in", "ing".
nlohmann::json TinyTokenizerJson();

// CHECK-fails where `json` is refused.
std::unique_ptr<Tokenizer> MakeTokenizer(const nlohmann::json& json);

// Id of a token of TinyTokenizerJson by its bytes; CHECK-fails for any other.
TokenId TinyId(std::string_view bytes);

}  // namespace olmoe::text::testing

#endif  // OLMOE_TESTS_TEXT_TINY_TOKENIZER_H_
