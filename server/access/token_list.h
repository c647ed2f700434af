#ifndef OLMOE_SERVER_ACCESS_TOKEN_LIST_H_
#define OLMOE_SERVER_ACCESS_TOKEN_LIST_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace olmoe::access {

// The tokens of one file. Lines are
//   TOKEN            a bearer token, 16 to 512 characters of A-Z a-z 0-9 - . _ ~ + / =
//   NAME:TOKEN       the same with its owner's name, for logs and the routing history
//   # ...            a comment; blank lines too
// Two tokens may have one name, so that a token can be changed without a gap. Kept as
// SHA-256: a token that was read is nowhere in memory. Immutable.
class TokenList {
 public:
  // Errors: INVALID_ARGUMENT with every bad line, by number and never by content; a list
  // without a token is one.
  static absl::StatusOr<TokenList> Parse(std::string_view text);

  // The owner of `token` (empty: a token without a name), nullopt where it is none of
  // these. Takes as long whether and wherever it matches.
  std::optional<std::string> NameOf(std::string_view token) const;

 private:
  struct Entry {
    std::string name;
    std::string digest;
  };
  std::vector<Entry> entries_;
};

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_TOKEN_LIST_H_
