#include "client/eval/sheet.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/render/table.h"

namespace olmoe::client::eval {
namespace {

std::string MarkdownLine(Sheet::Cells cells) {
  for (std::string& cell : cells) cell = absl::StrReplaceAll(cell, {{"|", "\\|"}});
  return absl::StrCat("| ", absl::StrJoin(cells, " | "), " |\n");
}

}  // namespace

std::string RenderSheet(const Sheet& sheet, const render::Style& style) {
  std::vector<render::Table::Column> columns;
  for (const std::string& title : sheet.titles) {
    const bool left = columns.size() < sheet.left;
    columns.push_back({title, left ? render::Table::Align::kLeft : render::Table::Align::kRight});
  }
  render::Table table(std::move(columns));
  for (const Sheet::Cells& cells : sheet.rows) table.AddRow(cells);
  return table.Render(style);
}

std::string MarkdownSheet(const Sheet& sheet) {
  std::string text = MarkdownLine(sheet.titles);
  Sheet::Cells rule(std::min(sheet.left, sheet.titles.size()), "---");
  rule.resize(sheet.titles.size(), "---:");
  absl::StrAppend(&text, MarkdownLine(rule));
  for (const Sheet::Cells& cells : sheet.rows) absl::StrAppend(&text, MarkdownLine(cells));
  return text;
}

}  // namespace olmoe::client::eval
