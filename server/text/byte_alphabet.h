// GPT-2's byte-level alphabet: vocabulary files write each of the 256 bytes as one
// printable character. '!'..'~', U+00A1..U+00AC and U+00AE..U+00FF stand for the
// byte of the same number; the 68 others, in ascending order, are U+0100..U+0143
// (so a space is U+0120).
#ifndef OLMOE_SERVER_TEXT_BYTE_ALPHABET_H_
#define OLMOE_SERVER_TEXT_BYTE_ALPHABET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace olmoe::text {

// The character, in UTF-8, that stands for `byte`.
std::string AlphabetCharacter(uint8_t byte);

// The bytes that well-formed `utf8` stands for; none where one of its characters
// is outside the alphabet.
std::optional<std::string> BytesFromAlphabet(std::string_view utf8);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_BYTE_ALPHABET_H_
