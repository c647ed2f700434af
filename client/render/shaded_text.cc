#include "client/render/shaded_text.h"

#include <algorithm>
#include <string_view>

#include "client/render/format.h"
#include "server/util/utf8.h"

namespace olmoe::client::render {
namespace {

// The colours are light, and show on dark terminals too.
std::string BlackOn(int color, std::string_view text, const Style& style) {
  return style.color() ? style.On(color, std::string("\x1b[30m").append(text)) : std::string(text);
}

// `text` on the colour; its line feeds on none, which would colour the rest of a terminal's line.
void AppendShaded(std::string_view text, const HeatLevel* level, const Style& style,
                  std::string* out) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) {
      const std::string_view line = text.substr(0, end);
      *out += level == nullptr || level->color == kNoColor ? std::string(line)
                                                           : BlackOn(level->color, line, style);
    }
    if (end < text.size()) out->push_back('\n');
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

std::string RenderShadedText(const std::vector<ShadedPart>& parts, const HeatScale& scale,
                             const Style& style) {
  std::string out, pending;
  for (size_t i = 0; i < parts.size(); ++i) {
    pending += parts[i].bytes;
    const bool last = i + 1 == parts.size();
    if (!last && CompleteUtf8Prefix(pending) < pending.size()) continue;
    const HeatLevel* level =
        parts[i].level < 0 ? nullptr : &scale.at(static_cast<size_t>(parts[i].level));
    AppendShaded(ForTerminal(LossyUtf8(pending)), level, style, &out);
    pending.clear();
  }
  if (!out.empty() && out.back() != '\n') out.push_back('\n');
  return out;
}

}  // namespace olmoe::client::render
