#include "client/notation/number_list.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe::client::notation {
namespace {

constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxExperts = 1024;  // those that the model does not have the server refuses

// Decimal digits only: no sign, no space, no overflow.
bool ParseNumber(absl::string_view text, uint32_t* value) {
  if (text.empty() || text.find_first_not_of("0123456789") != absl::string_view::npos) return false;
  return absl::SimpleAtoi(text, value);
}

absl::string_view Wrap(std::string_view text) { return {text.data(), text.size()}; }

// Numbers and ranges of them below `end`, as they stand there. `what`: "layer".
absl::StatusOr<std::vector<uint32_t>> ParseRanges(std::string_view text, char separator,
                                                  uint32_t end, std::string_view what) {
  std::vector<uint32_t> numbers;
  for (absl::string_view part : absl::StrSplit(Wrap(text), separator)) {
    part = absl::StripAsciiWhitespace(part);
    const std::vector<absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    uint32_t first = 0;
    uint32_t last = 0;
    if (!ParseNumber(ends.front(), &first) || !ParseNumber(ends.back(), &last) || first > last ||
        last >= end) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", part, "\" is not a ", Wrap(what), " or a range of ", Wrap(what), "s such as 0-3"));
    }
    for (uint32_t number = first; number <= last; ++number) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ParseLayers(std::string_view text) {
  const auto numbers = ParseRanges(text, ',', kMaxLayers, "layer");
  if (!numbers.ok()) return numbers.status();
  const std::set<uint32_t> layers(numbers->begin(), numbers->end());
  return std::vector<uint32_t>(layers.begin(), layers.end());
}

absl::StatusOr<std::vector<uint32_t>> ParseExperts(std::string_view text) {
  return ParseRanges(text, '+', kMaxExperts, "expert");
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
