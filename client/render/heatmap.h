// A grid of levels, one cell a character: colours where there are some, else signs.
#ifndef OLMOE_CLIENT_RENDER_HEATMAP_H_
#define OLMOE_CLIENT_RENDER_HEATMAP_H_

#include <string>
#include <string_view>
#include <vector>

#include "client/render/style.h"

namespace olmoe::client::render {

struct HeatLevel {
  char sign;         // without colours
  int color;         // background, of the 256-colour table; kNoColor = the sign instead
  std::string name;  // in the legend
};
inline constexpr int kNoColor = -1;
using HeatScale = std::vector<HeatLevel>;

struct HeatRow {
  std::string label;
  std::vector<int> levels;  // indices into the scale, one a column
  std::string note;         // behind the cells
};

// A line of column numbers, then the rows. 64 columns fit into a line; the rest of a
// wider row goes on below.
std::string RenderHeatMap(const std::vector<HeatRow>& rows, const std::string& note_title,
                          const HeatScale& scale, const Style& style);

// "title:  . <1/4  : <1/2", with the colours where there are some.
std::string RenderLegend(const std::string& title, const HeatScale& scale, const Style& style);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_HEATMAP_H_
