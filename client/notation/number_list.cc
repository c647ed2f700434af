#include "client/notation/number_list.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe::client::notation {
namespace {

constexpr uint32_t kMaxLayers = 1024;

// Decimal digits only: no sign, no space, no overflow.
bool ParseNumber(absl::string_view text, uint32_t* value) {
  if (text.empty() || text.find_first_not_of("0123456789") != absl::string_view::npos) return false;
  return absl::SimpleAtoi(text, value);
}

absl::string_view Wrap(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ParseLayers(std::string_view text) {
  std::set<uint32_t> layers;
  for (absl::string_view part : absl::StrSplit(Wrap(text), ',')) {
    part = absl::StripAsciiWhitespace(part);
    const std::vector<absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    uint32_t first = 0;
    uint32_t last = 0;
    if (!ParseNumber(ends.front(), &first) || !ParseNumber(ends.back(), &last) || first > last ||
        last >= kMaxLayers) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part, "\" is not a layer or a range of layers such as 0-3"));
    }
    for (uint32_t layer = first; layer <= last; ++layer) layers.insert(layer);
  }
  return std::vector<uint32_t>(layers.begin(), layers.end());
}

absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(std::string_view text) {
  std::vector<uint32_t> ids;
  for (absl::string_view part : absl::StrSplit(Wrap(text), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (!ParseNumber(part, &ids.emplace_back())) {
      return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is not a token id"));
    }
  }
  return ids;
}

}  // namespace olmoe::client::notation
