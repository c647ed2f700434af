#ifndef OLMOE_SERVER_TEXT_PRETOKENIZER_H_
#define OLMOE_SERVER_TEXT_PRETOKENIZER_H_

#include <cstddef>
#include <string_view>

namespace olmoe::text {

// End of the word that begins at byte `begin` of well-formed `utf8`, which must be
// before its end, by the split pattern of GPT-2. Starting at 0 and continuing at
// each result cuts the text into words without a gap.
size_t WordEnd(std::string_view utf8, size_t begin);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_PRETOKENIZER_H_
