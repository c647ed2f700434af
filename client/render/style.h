#ifndef OLMOE_CLIENT_RENDER_STYLE_H_
#define OLMOE_CLIENT_RENDER_STYLE_H_

#include <string>
#include <string_view>

namespace olmoe::client::render {

// Colours of a terminal, or none. Immutable.
class Style {
 public:
  explicit Style(bool color = false) : color_(color) {}

  bool color() const { return color_; }

  std::string Bold(std::string_view text) const { return Wrap("1", text); }
  std::string Dim(std::string_view text) const { return Wrap("2", text); }
  std::string Red(std::string_view text) const { return Wrap("31", text); }
  std::string Green(std::string_view text) const { return Wrap("32", text); }
  std::string Yellow(std::string_view text) const { return Wrap("33", text); }
  // On a background of the 256-colour table.
  std::string On(int color, std::string_view text) const {
    return Wrap("48;5;" + std::to_string(color), text);
  }

 private:
  std::string Wrap(std::string_view code, std::string_view text) const {
    if (!color_) return std::string(text);
    return std::string("\x1b[").append(code).append("m").append(text).append("\x1b[0m");
  }

  bool color_;
};

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_STYLE_H_
