#ifndef OLMOE_SERVER_TEXT_ADDED_TOKENS_H_
#define OLMOE_SERVER_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/util/token_id.h"

namespace olmoe::text {

// Finds literal tokens in text: the leftmost, and of those that begin there the
// longest. A trie walked from every byte that begins a token; O(text * longest
// token) at worst, one table lookup a byte usually. Thread-compatible; immutable
// once filled.
class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin;  // bytes
    size_t end;
    TokenId id;
  };

  // `content` must not be empty. False, and no effect, where it was added before.
  bool Add(std::string_view content, TokenId id);

  // The first match at or after byte `from`.
  std::optional<Match> Find(std::string_view text, size_t from) const;

 private:
  static constexpr TokenId kNoToken = -1;
  static constexpr uint32_t kRoot = 0;  // never a child, so 0 also means "no child"

  uint32_t Child(uint32_t node, char byte) const;
  std::optional<Match> LongestAt(std::string_view text, size_t begin) const;

  std::vector<TokenId> token_of_node_{kNoToken};
  std::array<uint32_t, 256> children_of_root_{};
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // (node, byte) -> node
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_ADDED_TOKENS_H_
