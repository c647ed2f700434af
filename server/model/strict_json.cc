#include "server/model/strict_json.h"

#include "absl/strings/str_cat.h"

namespace olmoe::model {
namespace {

// The lexer holds a token, and the message about it, several times over.
constexpr size_t kMaxTokenBytes = 1 << 20;

// Where a string, or a run of text outside of strings without any of []{}:, and white
// space, is longer than kMaxTokenBytes; npos where none is. Needs no valid JSON.
size_t FindLongToken(std::string_view text) {
  size_t start = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i - start > kMaxTokenBytes) return start;
    if (in_string && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      in_string = !in_string;
      start = i;
    } else if (!in_string && std::string_view(" \t\r\n[]{}:,").find(text[i]) != text.npos) {
      start = i;
    }
  }
  return std::string_view::npos;
}

}  // namespace

bool StrictJsonHandler::Fail(std::string_view what) {
  if (error_.empty()) {
    const std::string where = Where();
    error_ = absl::StrCat(where, where.empty() ? "" : ": ", std::string(what));
  }
  return false;
}

bool StrictJsonHandler::Unexpected(std::string_view kind) {
  return Fail(absl::StrCat("unexpected ", std::string(kind)));
}

bool StrictJsonHandler::CountValue() {
  if (++values_ <= limits_.max_values) return true;
  return Fail(absl::StrCat("more than ", limits_.max_values, " values"));
}

bool StrictJsonHandler::Enter() {
  if (depth_ < limits_.max_depth) return true;
  return Fail(absl::StrCat("nested deeper than ", limits_.max_depth));
}

bool StrictJsonHandler::start_object(size_t) {
  if (!CountValue() || !Enter() || !OnStartObject()) return false;
  ++depth_;
  return true;
}

bool StrictJsonHandler::end_object() {
  --depth_;
  return OnEndObject();
}

bool StrictJsonHandler::start_array(size_t) {
  if (!CountValue() || !Enter() || !OnStartArray()) return false;
  ++depth_;
  return true;
}

bool StrictJsonHandler::end_array() {
  --depth_;
  return OnEndArray();
}

bool StrictJsonHandler::parse_error(size_t position, const std::string&,
                                    const nlohmann::detail::exception& error) {
  // The library's message quotes the offending token, which may be of any length.
  return Fail(absl::StrCat("not JSON at byte ", position));
}

absl::Status ParseStrictJson(std::string_view text, StrictJsonHandler* handler) {
  // The library's lexer takes a NUL for the end of the text and would ignore the rest.
  const size_t nul = text.find('\0');
  if (nul != text.npos) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON at byte ", nul, ": NUL"));
  }
  const size_t long_token = FindLongToken(text);
  if (long_token != text.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kMaxTokenBytes, " bytes without a break at byte ", long_token));
  }
  nlohmann::json_sax<nlohmann::json>* events = handler;
  if (nlohmann::json::sax_parse(text, events)) return absl::OkStatus();
  return absl::InvalidArgumentError(handler->error());
}

}  // namespace olmoe::model
