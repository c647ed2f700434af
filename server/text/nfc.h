// Unicode normalization form C, with the way back to the original text.
#ifndef OLMOE_SERVER_TEXT_NFC_H_
#define OLMOE_SERVER_TEXT_NFC_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace olmoe::text {

struct NormalizedText {
  std::string text;  // UTF-8
  // One a code point of `text`: the index of the code point of the source that it
  // stands for (of a composed character: the first of those it was made of).
  std::vector<uint32_t> origins;
};

// Whether NormalizeNfc(utf8) would leave well-formed `utf8` as it is.
bool IsNfc(std::string_view utf8);

// NFC of well-formed `utf8` as the reference library computes it: code points
// newer than Unicode 9.0 are left alone.
NormalizedText NormalizeNfc(std::string_view utf8);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_NFC_H_
