#ifndef OLMOE_CLIENT_RENDER_HELP_H_
#define OLMOE_CLIENT_RENDER_HELP_H_

#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"

namespace olmoe::client::render {

// --help as CLI11 prints it, with descriptions broken so that a line has 80 columns. Immutable.
class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override;
  std::string make_subcommand(const CLI::App* command) const override;
};

// `text` in lines of at most `width` characters, where its words allow it; the breaks of the text
// stay.
std::string Wrap(const std::string& text, size_t width);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_HELP_H_
