#ifndef OLMOE_CLIENT_EVAL_SHEET_H_
#define OLMOE_CLIENT_EVAL_SHEET_H_

#include <cstddef>
#include <string>
#include <vector>

#include "client/render/style.h"

namespace olmoe::client::eval {

// A table of a report, which may be for people or for a page. Thread-compatible.
struct Sheet {
  using Cells = std::vector<std::string>;

  size_t left = 2;  // the first columns, which are texts; the others are numbers
  Cells titles;
  std::vector<Cells> rows;  // each as long as the titles
};

std::string RenderSheet(const Sheet& sheet, const render::Style& style);
std::string MarkdownSheet(const Sheet& sheet);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_SHEET_H_
