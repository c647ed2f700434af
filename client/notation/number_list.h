#ifndef OLMOE_CLIENT_NOTATION_NUMBER_LIST_H_
#define OLMOE_CLIENT_NOTATION_NUMBER_LIST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace olmoe::client::notation {

// "0-3,7" as 0, 1, 2, 3, 7: ascending, each layer once. INVALID_ARGUMENT names the
// part that is wrong; layers from 1024 on are refused here, those that the model
// does not have by the server.
absl::StatusOr<std::vector<uint32_t>> ParseLayers(std::string_view text);

// "0-3+7" as 0, 1, 2, 3, 7: in that order, repeated where they are repeated, because who selects
// experts refuses that. INVALID_ARGUMENT names the part that is wrong.
absl::StatusOr<std::vector<uint32_t>> ParseExperts(std::string_view text);

// "1,2,3": one or more token ids. INVALID_ARGUMENT names the part that is wrong.
absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(std::string_view text);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_NUMBER_LIST_H_
