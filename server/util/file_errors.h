// Messages about files: one line, whatever stands in the file.
#ifndef OLMOE_SERVER_UTIL_FILE_ERRORS_H_
#define OLMOE_SERVER_UTIL_FILE_ERRORS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace olmoe {

// Text of a file as it may stand in a message: escaped, and cut after 80 bytes.
std::string Printable(std::string_view text);
// The same in quotes.
std::string Quoted(std::string_view text);

// "[64, 2048]"
std::string ShapeText(const std::vector<int64_t>& shape);

// "a, b, c, d and 12 more"
std::string ListText(const std::vector<std::string>& names);

// The same error, "<path>: " before its message.
absl::Status WithPath(std::string_view path, const absl::Status& status);

// INVALID_ARGUMENT "<path>: <what>".
absl::Status InvalidFile(std::string_view path, std::string_view what);

// INVALID_ARGUMENT "<path>: tensor <tensor>: <what>".
absl::Status InvalidTensor(std::string_view path, std::string_view tensor, std::string_view what);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_FILE_ERRORS_H_
