// Numbers and texts as a person reads them, and messages as JSON.
#ifndef OLMOE_CLIENT_RENDER_FORMAT_H_
#define OLMOE_CLIENT_RENDER_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace google::protobuf {
class Duration;
class Message;
class Timestamp;
}  // namespace google::protobuf

namespace olmoe::client::render {

std::string FormatSeconds(double seconds);  // "850 ns", "1.2 ms", "3.45 s", "2 h 5 min"
std::string FormatDuration(const google::protobuf::Duration& duration);
std::string FormatTime(const google::protobuf::Timestamp& time);  // "2025-01-31 12:00:00 UTC"
std::string FormatBytes(uint64_t bytes);                          // "512 B", "1.5 MiB"
std::string FormatFixed(double value, int decimals);
double ToSeconds(const google::protobuf::Duration& duration);

// Returns `text` with a space for each line break and control character.
std::string OneLine(std::string text);

// Returns `bytes` in double quotes; control characters, quotes and bytes that are not UTF-8
// become escapes. What is longer than `max_code_points` is cut, with "..." after the quote.
std::string Quote(std::string_view bytes, size_t max_code_points = SIZE_MAX);

// Returns generated text for a terminal: control characters other than line feed and tab
// become U+FFFD, so that a model cannot send escape sequences.
std::string ForTerminal(std::string_view text);

// The JSON form of a message, with the names of proto/ as all JSON of olmoectl has them (64-bit
// integers as strings, bytes in base64), zero values included. `indent`: on several lines.
std::string ToJson(const google::protobuf::Message& message, bool indent);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_FORMAT_H_
