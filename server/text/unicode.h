// The few facts about Unicode that the tokenizer needs, from ICU.
#ifndef OLMOE_SERVER_TEXT_UNICODE_H_
#define OLMOE_SERVER_TEXT_UNICODE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace olmoe::text {

// The classes that the split pattern tells apart.
enum class CharClass : uint8_t {
  kLetter,  // \p{L}
  kNumber,  // \p{N}
  kSpace,   // \s: White_Space
  kOther,
};

// Class of a code point by Unicode 16.0, the version of the reference, whatever
// older version (15.0 or later) ICU has.
CharClass ClassOf(char32_t c);

// White_Space, 25 code points.
bool IsWhiteSpace(char32_t c);

// Bytes of plain ASCII at the beginning of `text`, in steps of eight.
size_t AsciiPrefix(std::string_view text);

// Offset of the first character that is not well-formed UTF-8; npos where there is none.
// No surrogates, no overlong forms, nothing above U+10FFFF, nothing cut off. At most
// INT32_MAX bytes.
size_t FirstIllFormedByte(std::string_view text);
inline bool IsWellFormedUtf8(std::string_view text) {
  return FirstIllFormedByte(text) == std::string_view::npos;
}

// The code point at `*position` of well-formed `utf8`; moves past it.
char32_t NextCodePoint(std::string_view utf8, size_t* position);

// Code points of well-formed `utf8`.
size_t CountCodePoints(std::string_view utf8);

// `bytes` with each maximal ill-formed part replaced by U+FFFD.
std::string LossyUtf8(std::string_view bytes);

// Length of the longest prefix that does not end inside a character which more
// bytes could complete: at most 3 bytes shorter than `bytes`.
size_t CompleteUtf8Prefix(std::string_view bytes);

inline bool IsContinuationByte(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_UNICODE_H_
