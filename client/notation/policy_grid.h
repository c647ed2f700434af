#ifndef OLMOE_CLIENT_NOTATION_POLICY_GRID_H_
#define OLMOE_CLIENT_NOTATION_POLICY_GRID_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace olmoe::client::notation {

inline constexpr size_t kMaxGridPolicies = 4096;

// The grammar for --help; every line is indented by two spaces.
std::string PolicyGridHelp();

// The policy specs that a grid stands for: a spec whose values are lists or ranges, and every
// combination of them, the last value changing fastest. "top-k=1..3" is top-k=1, top-k=2, top-k=3;
// "min-p:ratio=0.1,0.2,max=4,8" is four. Whether they are specs is not checked, but that they are
// at most kMaxGridPolicies. INVALID_ARGUMENT names the part that is wrong.
absl::StatusOr<std::vector<std::string>> ExpandGrid(std::string_view grid);

// "1..4,8" as 1, 2, 3, 4, 8: ascending, each once, 1..kMaxExperts of the server's rules.
// INVALID_ARGUMENT names the part that is wrong.
absl::StatusOr<std::vector<uint32_t>> ParseCounts(std::string_view text);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_POLICY_GRID_H_
