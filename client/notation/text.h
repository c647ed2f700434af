// Texts from outside: their bytes, their lines.
#ifndef OLMOE_CLIENT_NOTATION_TEXT_H_
#define OLMOE_CLIENT_NOTATION_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"

namespace olmoe::client::notation {

// "not UTF-8 from byte 3 on", or nothing. Proto strings must be UTF-8: bytes from a command line
// or a file are checked with this.
std::string CheckUtf8(std::string_view text);

// The parts between the separators that stand in no double quotes; at least one.
std::vector<absl::string_view> SplitUnquoted(absl::string_view text, char separator);

// The lines of a text that outlives it, one after the other. Thread-compatible.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  // The next line without its end, "\n" or "\r\n"; false where there is none.
  bool Next(std::string_view* line);
  // Of the line that Next gave last, from 1 on.
  size_t number() const { return number_; }

 private:
  std::string_view rest_;
  size_t number_ = 0;
};

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_TEXT_H_
