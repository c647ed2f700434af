#include "client/commands/command.h"

#include "absl/strings/str_cat.h"
#include "client/utf8.h"

namespace olmoe::client {

CLI::Validator IsUtf8() {
  return CLI::Validator(
      [](std::string& text) {
        const auto bad = FirstInvalidUtf8(text);
        return bad ? absl::StrCat("not UTF-8 from byte ", *bad, " on") : std::string();
      },
      /*validator_desc=*/"");
}

}  // namespace olmoe::client
