#include "client/render/heatmap.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace olmoe::client::render {
namespace {

constexpr size_t kColumns = 64;
constexpr size_t kTick = 8;

// Cells [begin, end) of a row; neighbours of one level share their escape codes.
std::string Cells(const HeatRow& row, size_t begin, size_t end, const HeatScale& scale,
                  const Style& style) {
  std::string text;
  while (begin < end) {
    size_t last = begin;
    while (last < end && row.levels[last] == row.levels[begin]) ++last;
    const HeatLevel& level = scale.at(row.levels[begin]);
    if (style.color() && level.color != kNoColor) {
      text += style.On(level.color, std::string(last - begin, ' '));
    } else {
      text.append(last - begin, level.sign);
    }
    begin = last;
  }
  return text;
}

// "0       8       16": each number over its column.
std::string Ticks(size_t columns) {
  std::string text;
  for (size_t column = 0; column < columns; column += kTick) {
    text.resize(column, ' ');
    absl::StrAppend(&text, column);
  }
  text.resize(std::max(columns, text.size()), ' ');
  return text;
}

}  // namespace

std::string RenderHeatMap(const std::vector<HeatRow>& rows, const std::string& note_title,
                          const HeatScale& scale, const Style& style) {
  size_t label_width = 0, columns = 0;
  for (const HeatRow& row : rows) {
    label_width = std::max(label_width, row.label.size());
    columns = std::max(columns, row.levels.size());
  }
  std::string text = style.Bold(absl::StrCat(std::string(label_width + 1, ' '),
                                             Ticks(std::min(columns, kColumns)), note_title));
  text += '\n';
  for (const HeatRow& row : rows) {
    for (size_t begin = 0; begin < std::max<size_t>(row.levels.size(), 1); begin += kColumns) {
      const std::string label = begin == 0 ? row.label : "";
      absl::StrAppend(
          &text, std::string(label_width - label.size(), ' '), label, " ",
          Cells(row, begin, std::min(begin + kColumns, row.levels.size()), scale, style),
          begin == 0 ? row.note : "", "\n");
    }
  }
  return text;
}

std::string RenderLegend(const std::string& title, const HeatScale& scale, const Style& style) {
  std::string text = absl::StrCat(title, ":");
  for (const HeatLevel& level : scale) {
    const bool block = style.color() && level.color != kNoColor;
    const std::string sign(1, level.sign);
    absl::StrAppend(&text, "  ", block ? style.On(level.color, " ") : sign, level.name);
  }
  return text + "\n";
}

}  // namespace olmoe::client::render
