#ifndef OLMOE_SERVER_LOG_LOG_LINE_H_
#define OLMOE_SERVER_LOG_LOG_LINE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace olmoe::log {

enum class LogFormat {
  kText,  // as glog's lines: "I20260131 23:59:59.000000 request] method=Generate arm=a"
  kJson,  // one object: {"time":"...","severity":"INFO","message":"request","method":...}
};

struct LogLine {
  using Value = std::variant<std::string, uint64_t, double>;

  absl::Time time;
  const char* severity = "INFO";  // "WARNING", "ERROR", "FATAL"
  std::string message;
  std::vector<std::pair<const char*, Value>> fields;  // in this order
};

// One line with its end: whatever bytes the values hold, there is no other line break in
// it, and JSON is valid UTF-8. Pure.
std::string FormatLine(const LogLine& line, LogFormat format);

}  // namespace olmoe::log

#endif  // OLMOE_SERVER_LOG_LOG_LINE_H_
