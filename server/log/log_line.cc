#include "server/log/log_line.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace olmoe::log {
namespace {

std::string Json(const LogLine& line) {
  nlohmann::ordered_json object;
  object["time"] = absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", line.time, absl::UTCTimeZone());
  object["severity"] = line.severity;
  object["message"] = line.message;
  for (const auto& [name, value] : line.fields) {
    std::visit([&, name = name](const auto& of_type) { object[name] = of_type; }, value);
  }
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Quoted where it would not read as one word.
std::string Word(const std::string& text) {
  const std::string escaped = absl::CHexEscape(text);
  const bool plain = !text.empty() && escaped == text && text.find(' ') == std::string::npos;
  return plain ? text : absl::StrCat("\"", escaped, "\"");
}

struct ToWord {
  std::string operator()(const std::string& text) const { return Word(text); }
  template <class Number>
  std::string operator()(Number number) const {
    return absl::StrCat(number);
  }
};

std::string Text(const LogLine& line) {
  std::string out =
      absl::StrCat(std::string(1, line.severity[0]),
                   absl::FormatTime("%Y%m%d %H:%M:%E6S ", line.time, absl::LocalTimeZone()),
                   absl::CHexEscape(line.message), "]");
  for (const auto& [name, value] : line.fields) {
    absl::StrAppend(&out, " ", name, "=", std::visit(ToWord(), value));
  }
  return out;
}

}  // namespace

std::string FormatLine(const LogLine& line, LogFormat format) {
  return (format == LogFormat::kJson ? Json(line) : Text(line)) + "\n";
}

}  // namespace olmoe::log
