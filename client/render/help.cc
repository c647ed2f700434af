#include "client/render/help.h"

#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe::client::render {
namespace {

constexpr size_t kWidth = 80;

}  // namespace

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return Wrap(CLI::Formatter::make_option_desc(option), kWidth - get_column_width());
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  std::ostringstream out;
  CLI::detail::format_help(out, command->get_name(),
                           Wrap(command->get_description(), kWidth - get_column_width()),
                           get_column_width());
  return out.str();
}

std::string Wrap(const std::string& text, size_t width) {
  std::string wrapped;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    size_t length = 0;
    if (!wrapped.empty()) wrapped += '\n';
    for (const absl::string_view word : absl::StrSplit(line, ' ')) {
      if (length > 0) {
        const bool fits = length + 1 + word.size() <= width;
        wrapped += fits ? ' ' : '\n';
        length = fits ? length + 1 : 0;
      }
      absl::StrAppend(&wrapped, word);
      length += word.size();
    }
  }
  return wrapped;
}

}  // namespace olmoe::client::render
