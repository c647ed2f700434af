// The few facts about characters that the tokenizer needs, from ICU.
#ifndef OLMOE_SERVER_TEXT_UNICODE_H_
#define OLMOE_SERVER_TEXT_UNICODE_H_

#include <cstdint>

#include "server/util/utf8.h"

namespace olmoe::text {

using olmoe::FirstIllFormedByte;  // for rpc, until it names server/util

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

// \w: letters, marks, digits, connectors (UTS #18), by Unicode 16.0.
bool IsWordCharacter(char32_t c);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_UNICODE_H_
