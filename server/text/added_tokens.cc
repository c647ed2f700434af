#include "server/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "server/text/unicode.h"
#include "server/util/utf8.h"

namespace olmoe::text {
namespace {

uint64_t ChildKey(uint32_t node, char byte) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<uint8_t>(byte);
}

// Start of the character that ends at `end`, which is not 0.
size_t LastStart(std::string_view utf8, size_t end) {
  size_t start = end - 1;
  while (start > 0 && IsContinuationByte(utf8[start])) --start;
  return start;
}

char32_t CodePointAt(std::string_view utf8, size_t position) {
  return NextCodePoint(utf8, &position);
}

bool IsSingleWord(std::string_view utf8, size_t begin, size_t end) {
  if (begin > 0 && IsWordCharacter(CodePointAt(utf8, LastStart(utf8, begin)))) return false;
  return end == utf8.size() || !IsWordCharacter(CodePointAt(utf8, end));
}

// Start of the white space that ends at `end` and does not begin before `low`.
size_t SpaceBegin(std::string_view utf8, size_t low, size_t end) {
  while (end > low) {
    const size_t start = LastStart(utf8, end);
    if (!IsWhiteSpace(CodePointAt(utf8, start))) break;
    end = start;
  }
  return end;
}

size_t SpaceEnd(std::string_view utf8, size_t begin) {
  while (begin < utf8.size()) {
    size_t next = begin;
    if (!IsWhiteSpace(NextCodePoint(utf8, &next))) break;
    begin = next;
  }
  return begin;
}

}  // namespace

bool AddedTokenMatcher::Add(std::string_view content, const AddedToken& token) {
  CHECK(!content.empty());
  uint32_t node = kRoot;
  for (const char byte : content) {
    uint32_t& child = node == kRoot ? children_of_root_[static_cast<uint8_t>(byte)]
                                    : children_[ChildKey(node, byte)];
    if (child == 0) {
      child = static_cast<uint32_t>(token_of_node_.size());
      token_of_node_.push_back(kNoToken);
    }
    node = child;
  }
  if (token_of_node_[node] != kNoToken) return false;
  token_of_node_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  return true;
}

uint32_t AddedTokenMatcher::Child(uint32_t node, char byte) const {
  const auto found = children_.find(ChildKey(node, byte));
  return found == children_.end() ? 0 : found->second;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::LongestAt(std::string_view text,
                                                                     size_t begin) const {
  std::optional<Match> longest;
  uint32_t node = children_of_root_[static_cast<uint8_t>(text[begin])];
  for (size_t end = begin + 1; node != 0; ++end) {
    const int32_t token = token_of_node_[node];
    if (token != kNoToken) longest = {begin, end, &tokens_[static_cast<size_t>(token)]};
    if (end == text.size()) break;
    node = Child(node, text[end]);
  }
  return longest;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::Find(std::string_view text,
                                                                size_t from) const {
  if (tokens_.empty()) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (children_of_root_[static_cast<uint8_t>(text[begin])] == 0) continue;
    const std::optional<Match> match = LongestAt(text, begin);
    if (match.has_value()) return match;
  }
  return std::nullopt;
}

std::optional<AddedTokenSplitter::Piece> AddedTokenSplitter::NextToken() {
  while (const std::optional<AddedTokenMatcher::Match> match = matcher_->Find(text_, searched_)) {
    searched_ = match->end;
    const AddedToken& token = *match->token;
    if (token.single_word && !IsSingleWord(text_, match->begin, match->end)) continue;
    Piece piece = {.begin = match->begin, .end = match->end, .token = token.id, .next = match->end};
    // Of itself, too, it has no more than what no other took along.
    if (token.lstrip) {
      piece.begin = std::max(covered_, SpaceBegin(text_, covered_, match->begin));
    }
    if (token.rstrip) piece.end = SpaceEnd(text_, match->end);
    return piece;
  }
  return std::nullopt;
}

std::optional<AddedTokenSplitter::Piece> AddedTokenSplitter::Next() {
  while (true) {
    const std::optional<Piece> token = ahead_.has_value() ? ahead_ : NextToken();
    ahead_.reset();
    const size_t end = token.has_value() ? token->begin : text_.size();
    if (covered_ < end) {
      ahead_ = token;
      const size_t begin = std::exchange(covered_, end);
      return Piece{.begin = begin, .end = end, .token = std::nullopt, .next = end};
    }
    if (!token.has_value()) return std::nullopt;
    covered_ = token->end;
    if (token->begin < token->end) return token;  // or nothing of it is left
  }
}

}  // namespace olmoe::text
