// UTF-8: the one checker of the project, and the steps through text that it has passed.
#ifndef OLMOE_SERVER_UTIL_UTF8_H_
#define OLMOE_SERVER_UTIL_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace olmoe {

// Returns the offset of the first character that is not well-formed UTF-8, npos where there is
// none. Surrogates, overlong forms, what is above U+10FFFF or cut off are not well-formed.
size_t FirstIllFormedByte(std::string_view text);
inline bool IsWellFormedUtf8(std::string_view text) {
  return FirstIllFormedByte(text) == std::string_view::npos;
}

// Returns the code point at `*position`, and moves past it. REQUIRES: `utf8` is well-formed.
char32_t NextCodePoint(std::string_view utf8, size_t* position);

// Counts the code points of `utf8`. REQUIRES: it is well-formed.
size_t CountCodePoints(std::string_view utf8);

// Returns `bytes` with each maximal ill-formed part replaced by U+FFFD.
std::string LossyUtf8(std::string_view bytes);

// Returns the length of the longest prefix that does not end inside a character which
// more bytes could complete: at most 3 bytes shorter than `bytes`.
size_t CompleteUtf8Prefix(std::string_view bytes);

// Counts the bytes of plain ASCII at the beginning of `text`, in steps of eight.
size_t AsciiPrefix(std::string_view text);

inline bool IsContinuationByte(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_UTF8_H_
