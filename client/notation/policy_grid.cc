#include "client/notation/policy_grid.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/notation/policy_spec.h"
#include "client/notation/text.h"
#include "server/routing/rule.h"

namespace olmoe::client::notation {
namespace {

bool ParseWhole(absl::string_view text, uint32_t* value) {
  const bool digits = text.find_first_not_of("0123456789") == absl::string_view::npos;
  return !text.empty() && digits && absl::SimpleAtoi(text, value);
}

// A value, or those of a range A..B of whole numbers.
absl::Status AppendValues(absl::string_view text, std::vector<std::string>* values) {
  if (absl::StrContains(text, '"') || !absl::StrContains(text, "..")) {
    values->emplace_back(text);
    return absl::OkStatus();
  }
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits("..", 1));
  uint32_t first = 0, last = 0;
  if (!ParseWhole(ends.first, &first) || !ParseWhole(ends.second, &last) || first > last) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a range of whole numbers such as 1..8"));
  }
  if (last - first >= kMaxGridPolicies) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is a range of more than ", kMaxGridPolicies, " numbers"));
  }
  for (uint32_t value = first; value <= last; ++value) values->push_back(absl::StrCat(value));
  return absl::OkStatus();
}

// Text that may be one of several: "top-k=" and "1", "2".
struct Part {
  std::string before;
  std::vector<std::string> values;
};

bool IsUse(absl::string_view text) {
  return std::find(kRuleUses.begin(), kRuleUses.end(), text) != kRuleUses.end();
}

// The position of a "=" that stands in no quotes.
size_t FindEquals(absl::string_view text) { return std::min(text.find('='), text.find('"')); }

// Appends the parts of what stands behind the name of a rule. A part without a key is another value
// of the key before it.
absl::Status AppendArguments(absl::string_view arguments, absl::string_view separator,
                             std::vector<Part>* parts) {
  bool first = true;
  for (absl::string_view text : SplitUnquoted(arguments, ',')) {
    text = absl::StripAsciiWhitespace(text);
    const size_t equals = FindEquals(text);
    const bool has_key = equals != absl::string_view::npos && text[equals] == '=';
    if (first || has_key || IsUse(text)) {
      const absl::string_view key = has_key ? text.substr(0, equals + 1) : absl::string_view();
      parts->push_back({absl::StrCat(first ? separator : ",", key), {}});
      text.remove_prefix(key.size());
    }
    first = false;
    if (auto status = AppendValues(text, &parts->back().values); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Part>> ParseGrid(absl::string_view grid) {
  std::vector<Part> parts;
  for (const absl::string_view rule : SplitUnquoted(grid, '/')) {
    const size_t end = rule.find_first_of("=:,");
    const absl::string_view name = absl::StripAsciiWhitespace(rule.substr(0, end));
    parts.push_back({parts.empty() ? "" : "/", {std::string(name)}});
    if (end == absl::string_view::npos) continue;
    auto status = AppendArguments(rule.substr(end + 1), rule.substr(end, 1), &parts);
    if (!status.ok()) return status;
  }
  return parts;
}

}  // namespace

std::string PolicyGridHelp() {
  return "  GRID is a SPEC whose values may be several: A..B are the whole numbers from A to B, "
         "and\n"
         "  values may be separated by commas. Every combination is a policy.\n"
         "  Examples: top-k=1..8   min-p:ratio=0.05,0.1,0.2   top-p=0.3,0.5,max=8,16\n"
         "            top-k=1,layers=0..15 (every layer alone)\n";
}

absl::StatusOr<std::vector<std::string>> ExpandGrid(std::string_view grid) {
  const auto parts = ParseGrid({grid.data(), grid.size()});
  if (!parts.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("grid ", std::string(grid), ": ", parts.status().message()));
  }
  std::vector<std::string> specs = {""};
  for (const Part& part : *parts) {
    if (specs.size() * part.values.size() > kMaxGridPolicies) {
      return absl::InvalidArgumentError(absl::StrCat("grid ", std::string(grid), ": is more than ",
                                                     kMaxGridPolicies, " policies"));
    }
    std::vector<std::string> longer;
    for (const std::string& spec : specs) {
      for (const std::string& value : part.values) {
        longer.push_back(absl::StrCat(spec, part.before, value));
      }
    }
    specs = std::move(longer);
  }
  return specs;
}

absl::StatusOr<std::vector<uint32_t>> ParseCounts(std::string_view text) {
  std::vector<std::string> values;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    if (auto status = AppendValues(absl::StripAsciiWhitespace(part), &values); !status.ok()) {
      return status;
    }
  }
  std::set<uint32_t> counts;
  for (const std::string& value : values) {
    uint32_t count = 0;
    if (!ParseWhole(value, &count) || count < 1 || count > uint32_t{routing::kMaxExperts}) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", value, "\" is not a number of experts from 1 to ", routing::kMaxExperts));
    }
    counts.insert(count);
  }
  return std::vector<uint32_t>(counts.begin(), counts.end());
}

}  // namespace olmoe::client::notation
