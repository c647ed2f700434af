#include "server/util/utf8.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace olmoe {

size_t AsciiPrefix(std::string_view text) {
  size_t length = 0;
  uint64_t word;
  while (length + sizeof(word) <= text.size()) {
    std::memcpy(&word, text.data() + length, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) break;
    length += sizeof(word);
  }
  return length;
}

size_t FirstIllFormedByte(std::string_view text) {
  const ptrdiff_t length = std::ssize(text);
  ptrdiff_t i = 0;
  while (i < length) {
    i += static_cast<ptrdiff_t>(AsciiPrefix(text.substr(static_cast<size_t>(i))));
    for (int step = 0; step < 8 && i < length; ++step) {
      const ptrdiff_t begin = i;
      UChar32 c;
      U8_NEXT(text.data(), i, length, c);
      if (c < 0) return static_cast<size_t>(begin);
    }
  }
  return std::string_view::npos;
}

char32_t NextCodePoint(std::string_view utf8, size_t* position) {
  UChar32 c;
  U8_NEXT_UNSAFE(utf8.data(), *position, c);
  return static_cast<char32_t>(c);
}

size_t CountCodePoints(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(),
                       [](char byte) { return !IsContinuationByte(byte); });
}

std::string LossyUtf8(std::string_view bytes) {
  if (IsWellFormedUtf8(bytes)) return std::string(bytes);
  std::string text;
  text.reserve(bytes.size());
  const uint8_t* data = reinterpret_cast<const uint8_t*>(bytes.data());
  for (size_t begin = 0, end = 0; begin < bytes.size(); begin = end) {
    UChar32 c;
    U8_NEXT(data, end, bytes.size(), c);
    text += c < 0 ? std::string_view("\uFFFD") : bytes.substr(begin, end - begin);
  }
  return text;
}

size_t CompleteUtf8Prefix(std::string_view bytes) {
  const uint8_t* data = reinterpret_cast<const uint8_t*>(bytes.data());
  // Signed: the macro compares length - 3 with the beginning.
  ptrdiff_t length = std::ssize(bytes);
  U8_TRUNCATE_IF_INCOMPLETE(data, 0, length);
  return static_cast<size_t>(length);
}

}  // namespace olmoe
