#include "server/text/pretokenizer.h"

#include <array>
#include <cstdint>

#include "server/text/unicode.h"
#include "server/util/utf8.h"

// GPT-2's split pattern (Radford et al. 2019), by hand instead of by a regular
// expression engine:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// At any position the alternatives exclude each other except in three places, and
// there the first one wins:
//
//   "'"  A contraction, in lower case only, is a word of its own: it|'s, 'll|ama.
//        Otherwise the apostrophe begins a run of "other" characters: |''|s|.
//   " "  One ordinary space belongs to the letters, numbers or others that follow:
//        a| b, 1| +. No other white space does: a|U+00A0|b.
//   \s+  A run of white space before something else gives up its last character,
//        since (?!\S) fails at the run's end: a|\n\n| b. A run of one character
//        has nothing to give up and is a word; so is a whole run at the end of
//        the text.
//
// So: contraction, or (one space and) a run of one class, or white space. Letters,
// numbers and "other" are runs of one class, which for ASCII is a table lookup a
// byte. Linear in the length of the word, plus the white space looked past. Tested
// against ICU's regular expressions with the pattern above.

namespace olmoe::text {
namespace {

constexpr uint8_t kNonAscii = 0xFF;

// CharClass of the ASCII characters, kNonAscii for the bytes of all others.
constexpr std::array<uint8_t, 256> ByteClasses() {
  std::array<uint8_t, 256> classes{};
  for (int byte = 0; byte < 256; ++byte) {
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    const bool number = byte >= '0' && byte <= '9';
    const bool space = byte == ' ' || (byte >= '\t' && byte <= '\r');
    classes[byte] = byte >= 0x80 ? kNonAscii
                    : letter     ? static_cast<uint8_t>(CharClass::kLetter)
                    : number     ? static_cast<uint8_t>(CharClass::kNumber)
                    : space      ? static_cast<uint8_t>(CharClass::kSpace)
                                 : static_cast<uint8_t>(CharClass::kOther);
  }
  return classes;
}
constexpr std::array<uint8_t, 256> kByteClasses = ByteClasses();

// Class of the character at `*position`; moves past it.
CharClass NextClass(std::string_view utf8, size_t* position) {
  const uint8_t ascii = kByteClasses[static_cast<uint8_t>(utf8[*position])];
  if (ascii == kNonAscii) return ClassOf(NextCodePoint(utf8, position));
  ++*position;
  return static_cast<CharClass>(ascii);
}

// First position from `position` on at which a character is not of `char_class`.
size_t RunEnd(std::string_view utf8, size_t position, CharClass char_class) {
  while (true) {
    while (position < utf8.size() &&
           kByteClasses[static_cast<uint8_t>(utf8[position])] == static_cast<uint8_t>(char_class)) {
      ++position;
    }
    size_t next = position;
    if (position == utf8.size() || NextClass(utf8, &next) != char_class) return position;
    position = next;
  }
}

// Length of 's 't 're 've 'm 'll 'd at the beginning of `rest`; 0 where none is.
size_t ContractionLength(std::string_view rest) {
  if (rest.size() < 2) return 0;
  const char second = rest[1];
  if (second == 's' || second == 't' || second == 'm' || second == 'd') return 2;
  if (rest.size() < 3) return 0;
  const bool two_letters = (second == 'r' && rest[2] == 'e') || (second == 'v' && rest[2] == 'e') ||
                           (second == 'l' && rest[2] == 'l');
  return two_letters ? 3 : 0;
}

// `\s+(?!\S)|\s+` at `begin`, where `second` is the end of its first character.
size_t WhiteSpaceEnd(std::string_view utf8, size_t begin, size_t second) {
  const size_t end = RunEnd(utf8, second, CharClass::kSpace);
  if (end == utf8.size() || end == second) return end;
  size_t last = end - 1;
  while (IsContinuationByte(utf8[last])) --last;
  return last;
}

}  // namespace

size_t WordEnd(std::string_view utf8, size_t begin) {
  if (utf8[begin] == '\'') {
    const size_t length = ContractionLength(utf8.substr(begin));
    if (length > 0) return begin + length;
  }
  size_t position = begin;
  CharClass char_class = NextClass(utf8, &position);
  if (utf8[begin] == ' ' && position < utf8.size()) {
    size_t next = position;
    const CharClass following = NextClass(utf8, &next);
    if (following != CharClass::kSpace) return RunEnd(utf8, next, following);
  }
  if (char_class == CharClass::kSpace) return WhiteSpaceEnd(utf8, begin, position);
  return RunEnd(utf8, position, char_class);
}

}  // namespace olmoe::text
