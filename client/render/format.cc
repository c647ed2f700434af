#include "client/render/format.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/json_util.h"
#include "unicode/utf8.h"

namespace olmoe::client::render {
namespace {

bool IsControl(UChar32 code_point) {
  return code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
}

void AppendEscaped(UChar32 code_point, std::string_view bytes, std::string* out) {
  if (code_point < 0) {
    for (const char byte : bytes) {
      absl::StrAppendFormat(out, "\\x%02x", static_cast<unsigned char>(byte));
    }
  } else if (code_point == '\n') {
    out->append("\\n");
  } else if (code_point == '\t') {
    out->append("\\t");
  } else if (code_point == '"' || code_point == '\\') {
    out->push_back('\\');
    out->append(bytes);
  } else if (IsControl(code_point)) {
    absl::StrAppendFormat(out, "\\u%04x", code_point);
  } else {
    out->append(bytes);
  }
}

}  // namespace

std::string FormatSeconds(double seconds) {
  if (seconds < 1e-6) return absl::StrFormat("%.0f ns", seconds * 1e9);
  if (seconds < 1e-3) return absl::StrFormat("%.1f us", seconds * 1e6);
  if (seconds < 1) return absl::StrFormat("%.1f ms", seconds * 1e3);
  if (seconds < 60) return absl::StrFormat("%.2f s", seconds);
  const auto minutes = static_cast<int64_t>(seconds / 60);
  if (minutes < 60) {
    return absl::StrFormat("%d min %d s", minutes, static_cast<int64_t>(seconds) % 60);
  }
  return absl::StrFormat("%d h %d min", minutes / 60, minutes % 60);
}

double ToSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

std::string FormatDuration(const google::protobuf::Duration& duration) {
  return FormatSeconds(ToSeconds(duration));
}

std::string FormatTime(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixSeconds(time.seconds()),
                          absl::UTCTimeZone());
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string FormatFixed(double value, int decimals) {
  return absl::StrFormat("%.*f", decimals, value);
}

std::string OneLine(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return text;
}

std::string Quote(std::string_view bytes, size_t max_code_points) {
  std::string quoted = "\"";
  const auto length = static_cast<int64_t>(bytes.size());
  size_t count = 0;
  for (int64_t position = 0; position < length; ++count) {
    if (count == max_code_points) return quoted + "\"...";
    const int64_t start = position;
    UChar32 code_point;
    U8_NEXT(bytes.data(), position, length, code_point);
    AppendEscaped(code_point, bytes.substr(start, position - start), &quoted);
  }
  return quoted + "\"";
}

std::string ForTerminal(std::string_view text) {
  std::string safe;
  const auto length = static_cast<int64_t>(text.size());
  for (int64_t position = 0; position < length;) {
    const int64_t start = position;
    UChar32 code_point;
    U8_NEXT(text.data(), position, length, code_point);
    const bool keep = code_point == '\n' || code_point == '\t' || !IsControl(code_point);
    safe.append(keep ? text.substr(start, position - start) : std::string_view("\xef\xbf\xbd"));
  }
  return safe;
}

std::string ToJson(const google::protobuf::Message& message, bool indent) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indent;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // A detail of a type that this program does not know cannot be printed as JSON.
  if (!status.ok()) return "{}";
  if (indent && !json.empty() && json.back() == '\n') json.pop_back();
  return json;
}

}  // namespace olmoe::client::render
