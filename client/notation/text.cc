#include "client/notation/text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/util/utf8.h"

namespace olmoe::client::notation {

std::string CheckUtf8(std::string_view text) {
  const size_t bad = FirstIllFormedByte(text);
  return bad == std::string_view::npos ? "" : absl::StrCat("not UTF-8 from byte ", bad, " on");
}

std::vector<absl::string_view> SplitUnquoted(absl::string_view text, char separator) {
  std::vector<absl::string_view> parts;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (text[i] != separator || quoted) continue;
    parts.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
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
