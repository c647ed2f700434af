#ifndef OLMOE_CLIENT_NOTATION_UTF8_H_
#define OLMOE_CLIENT_NOTATION_UTF8_H_

#include <cstddef>
#include <optional>
#include <string_view>

namespace olmoe::client::notation {

// Offset in bytes of the first byte that is not part of well-formed UTF-8. Proto
// strings must be UTF-8: bytes from a command line or a file are checked with this.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

// Number of code points; an ill-formed part counts as one.
size_t CountCodePoints(std::string_view text);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_UTF8_H_
