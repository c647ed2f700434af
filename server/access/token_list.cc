#include "server/access/token_list.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/util/sha256.h"
#include "server/util/status_details.h"

namespace olmoe::access {
namespace {

constexpr size_t kMinTokenChars = 16, kMaxTokenChars = 512, kMaxNameChars = 64;

// "token68" of RFC 7235: what may follow "Bearer ".
bool IsTokenChar(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("-._~+/=").find(c) != std::string_view::npos;
}

bool IsNameChar(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("-._@").find(c) != std::string_view::npos;
}

// Without the white space at their ends.
std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines = absl::StrSplit(std::string(text), '\n');
  for (std::string& line : lines) absl::StripAsciiWhitespace(&line);
  return lines;
}

std::optional<std::string> ProblemOfName(std::string_view name) {
  if (!name.empty() && name.size() <= kMaxNameChars &&
      std::all_of(name.begin(), name.end(), &IsNameChar)) {
    return std::nullopt;
  }
  return absl::StrCat("a name has 1 to ", kMaxNameChars, " characters of A-Z a-z 0-9 - . _ @");
}

std::optional<std::string> ProblemOfToken(std::string_view token) {
  if (token.size() >= kMinTokenChars && token.size() <= kMaxTokenChars &&
      std::all_of(token.begin(), token.end(), &IsTokenChar)) {
    return std::nullopt;
  }
  return absl::StrCat("a token has ", kMinTokenChars, " to ", kMaxTokenChars,
                      " characters of A-Z a-z 0-9 - . _ ~ + / =");
}

}  // namespace

absl::StatusOr<TokenList> TokenList::Parse(std::string_view text) {
  TokenList list;
  std::vector<FieldViolation> problems;
  int number = 0;
  for (const std::string& raw_line : Lines(text)) {
    const std::string where = absl::StrCat("line ", ++number);
    const std::string_view line = raw_line;
    if (line.empty() || line[0] == '#') continue;
    const size_t colon = line.find(':');
    const bool named = colon != std::string_view::npos;
    const std::string_view name = named ? line.substr(0, colon) : std::string_view();
    const std::string_view token = named ? line.substr(colon + 1) : line;
    if (named) {
      if (auto problem = ProblemOfName(name)) problems.push_back({where, *problem});
    }
    if (auto problem = ProblemOfToken(token)) problems.push_back({where, *problem});
    if (list.NameOf(token)) problems.push_back({where, "the token is there already"});
    list.entries_.push_back({std::string(name), Sha256Hex(token)});
  }
  if (list.entries_.empty()) problems.push_back({"tokens", "there is none"});
  if (!problems.empty()) return InvalidFields(problems);
  return list;
}

std::optional<std::string> TokenList::NameOf(std::string_view token) const {
  const std::string digest = Sha256Hex(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) found = &entry;
  }
  if (found == nullptr) return std::nullopt;
  return found->name;
}

}  // namespace olmoe::access
