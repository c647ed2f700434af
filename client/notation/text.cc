#include "client/notation/text.h"

#include <algorithm>
#include <cstdint>

#include "unicode/utf8.h"

namespace olmoe::client::notation {

std::optional<size_t> FirstInvalidUtf8(std::string_view text) {
  const auto length = static_cast<int64_t>(text.size());
  for (int64_t position = 0; position < length;) {
    const int64_t start = position;
    UChar32 code_point;
    U8_NEXT(text.data(), position, length, code_point);
    if (code_point < 0) return static_cast<size_t>(start);
  }
  return std::nullopt;
}

size_t CountCodePoints(std::string_view text) {
  const auto length = static_cast<int64_t>(text.size());
  size_t count = 0;
  for (int64_t position = 0; position < length; ++count) {
    UChar32 code_point;
    U8_NEXT(text.data(), position, length, code_point);
    static_cast<void>(code_point);
  }
  return count;
}

bool Lines::Next(std::string_view* line) {
  if (rest_.empty()) return false;
  ++number_;
  *line = rest_.substr(0, rest_.find('\n'));
  rest_.remove_prefix(std::min(line->size() + 1, rest_.size()));
  if (!line->empty() && line->back() == '\r') line->remove_suffix(1);
  return true;
}

}  // namespace olmoe::client::notation
