#include "client/render/table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/util/utf8.h"

namespace olmoe::client::render {
namespace {

size_t Width(const std::string& cell) { return CountCodePoints(LossyUtf8(cell)); }

std::string RenderRow(const std::vector<std::string>& cells,
                      const std::vector<Table::Column>& columns,
                      const std::vector<size_t>& widths) {
  std::string line;
  for (size_t column = 0; column < cells.size(); ++column) {
    const std::string padding(widths[column] - Width(cells[column]), ' ');
    const bool left = columns[column].align == Table::Align::kLeft;
    absl::StrAppend(&line, column == 0 ? "" : "  ", left ? "" : padding, cells[column],
                    left ? padding : "");
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  CHECK_EQ(cells.size(), columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::Render(const Style& style) const {
  std::vector<std::string> titles;
  std::vector<size_t> widths;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    widths.push_back(Width(column.title));
  }
  for (const auto& row : rows_) {
    for (size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], Width(row[column]));
    }
  }
  std::string text;
  const std::string heading = RenderRow(titles, columns_, widths);
  if (!heading.empty()) text = style.Bold(heading) + "\n";
  for (const auto& row : rows_) absl::StrAppend(&text, RenderRow(row, columns_, widths), "\n");
  return text;
}

}  // namespace olmoe::client::render
