#ifndef OLMOE_CLIENT_RENDER_TABLE_H_
#define OLMOE_CLIENT_RENDER_TABLE_H_

#include <string>
#include <vector>

#include "client/render/style.h"

namespace olmoe::client::render {

// Renders rows of text in aligned columns, two spaces apart, without lines: easy to
// read and easy to cut. Widths are counted in code points. Thread-compatible.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell a column.
  void AddRow(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // Returns the table with a line of titles, unless all of them are empty.
  std::string Render(const Style& style) const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_TABLE_H_
