// A byte-level tokenizer small enough to know by heart.
#ifndef OLMOE_TESTS_ENGINE_TINY_TOKENIZER_H_
#define OLMOE_TESTS_ENGINE_TINY_TOKENIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "server/text/tokenizer.h"

namespace olmoe::engine {

// Ids 0..255 are the bytes of that value; then come "ab", "abc", "\n\n" and a special token.
inline constexpr TokenId kTokenAb = 256;
inline constexpr TokenId kTokenAbc = 257;
inline constexpr TokenId kTokenBlankLine = 258;
inline constexpr TokenId kTokenEnd = 259;
inline constexpr int kTinyVocabSize = 260;

std::unique_ptr<text::Tokenizer> MakeTinyTokenizer();

// One token a byte.
std::vector<TokenId> Bytes(const std::string& text);

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_TINY_TOKENIZER_H_
