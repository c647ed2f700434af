#include "server/completions/json_writer.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/util/utf8.h"

namespace olmoe::completions {
namespace {

void AppendEscaped(std::string_view utf8, std::string* out) {
  for (const char c : utf8) {
    switch (c) {
      case '"': *out += "\\\""; break;
      case '\\': *out += "\\\\"; break;
      case '\n': *out += "\\n"; break;
      case '\r': *out += "\\r"; break;
      case '\t': *out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          absl::StrAppend(out, "\\u", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad4));
        } else {
          *out += c;
        }
    }
  }
}

}  // namespace

void JsonWriter::BeginValue() {
  if (needs_comma_) text_ += ',';
  needs_comma_ = true;
}

JsonWriter& JsonWriter::BeginObject() {
  BeginValue();
  text_ += '{';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndObject() {
  text_ += '}';
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::BeginArray() {
  BeginValue();
  text_ += '[';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndArray() {
  text_ += ']';
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  String(key);
  text_ += ':';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  BeginValue();
  text_ += '"';
  if (IsWellFormedUtf8(text)) {
    AppendEscaped(text, &text_);
  } else {
    AppendEscaped(LossyUtf8(text), &text_);
  }
  text_ += '"';
  return *this;
}

JsonWriter& JsonWriter::Integer(int64_t value) {
  BeginValue();
  absl::StrAppend(&text_, value);
  return *this;
}

JsonWriter& JsonWriter::Float(float value) {
  BeginValue();
  constexpr float kMost = std::numeric_limits<float>::max();
  char text[32];
  // A NaN is taken for the lowest, too.
  const double finite = value >= -kMost ? std::min(value, kMost) : -kMost;
  const auto [end, error] = std::to_chars(text, text + sizeof(text), finite);
  text_.append(text, static_cast<size_t>(end - text));
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) { return Raw(value ? "true" : "false"); }

JsonWriter& JsonWriter::Null() { return Raw("null"); }

JsonWriter& JsonWriter::Raw(std::string_view json) {
  if (json.empty()) return *this;
  BeginValue();
  text_ += json;
  return *this;
}

std::string JsonWriter::Take() {
  needs_comma_ = false;
  return std::exchange(text_, "");
}

}  // namespace olmoe::completions
