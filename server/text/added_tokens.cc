#include "server/text/added_tokens.h"

#include "glog/logging.h"

namespace olmoe::text {
namespace {

uint64_t ChildKey(uint32_t node, char byte) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<uint8_t>(byte);
}

}  // namespace

bool AddedTokenMatcher::Add(std::string_view content, TokenId id) {
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
  token_of_node_[node] = id;
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
    if (token_of_node_[node] != kNoToken) longest = {begin, end, token_of_node_[node]};
    if (end == text.size()) break;
    node = Child(node, text[end]);
  }
  return longest;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::Find(std::string_view text,
                                                                size_t from) const {
  if (token_of_node_.size() == 1) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (children_of_root_[static_cast<uint8_t>(text[begin])] == 0) continue;
    const std::optional<Match> match = LongestAt(text, begin);
    if (match.has_value()) return match;
  }
  return std::nullopt;
}

}  // namespace olmoe::text
