// A text in its own words, each part on a colour of its own.
#ifndef OLMOE_CLIENT_RENDER_SHADED_TEXT_H_
#define OLMOE_CLIENT_RENDER_SHADED_TEXT_H_

#include <string>
#include <vector>

#include "client/render/heatmap.h"
#include "client/render/style.h"

namespace olmoe::client::render {

struct ShadedPart {
  std::string bytes;  // may begin or end inside a character
  int level = 0;      // index into the scale; -1 = no colour
};

// The parts one after the other, and a line feed where the text does not end with one. A
// character of several parts has the colour of the last. Control characters become U+FFFD.
std::string RenderShadedText(const std::vector<ShadedPart>& parts, const HeatScale& scale,
                             const Style& style);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_SHADED_TEXT_H_
