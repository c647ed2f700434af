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

// A literal token, and what its surroundings have to do with it.
struct AddedToken {
  TokenId id = 0;
  bool single_word = false;  // not where a word character stands before or after it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
};

// Finds literal tokens in text: the leftmost, and of those that begin there the
// longest. A trie walked from every byte that begins a token; O(text * longest
// token) at worst, one table lookup a byte usually. Thread-compatible; immutable
// once filled.
class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin;  // bytes
    size_t end;
    const AddedToken* token;  // valid until the next Add
  };

  // `content` must not be empty. False, and no effect, where it was added before.
  bool Add(std::string_view content, const AddedToken& token);

  // The first match at or after byte `from`.
  std::optional<Match> Find(std::string_view text, size_t from) const;

 private:
  static constexpr int32_t kNoToken = -1;
  static constexpr uint32_t kRoot = 0;  // never a child, so 0 also means "no child"

  uint32_t Child(uint32_t node, char byte) const;
  std::optional<Match> LongestAt(std::string_view text, size_t begin) const;

  std::vector<AddedToken> tokens_;
  std::vector<int32_t> token_of_node_{kNoToken};  // index into tokens_
  std::array<uint32_t, 256> children_of_root_{};
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // (node, byte) -> node
};

// Cuts a text into added tokens and what lies between them, as the reference library does.
// Matches are looked for one behind the other, whatever the tokens take along. So where a token
// takes along white space that another token is made of, the other one is a piece, too, and the
// two overlap:
//
//   tokens <s> (rstrip) and "  "     "<s>   a"  ->  "<s>   ", "  ", " a"
//
// Linear, but for a token of white space alone that takes along more of it. Thread-compatible;
// what it is given must outlive it.
class AddedTokenSplitter {
 public:
  struct Piece {
    size_t begin = 0;  // bytes
    size_t end = 0;
    std::optional<TokenId> token;  // unset: other text
    size_t next = 0;               // no later piece begins before it; at most `end`
  };

  AddedTokenSplitter(const AddedTokenMatcher* matcher, std::string_view text)
      : matcher_(matcher), text_(text) {}

  // The next piece that is not empty; none at the end.
  std::optional<Piece> Next();

 private:
  // The next match that is a token where it stands, with what it takes along.
  std::optional<Piece> NextToken();

  const AddedTokenMatcher* const matcher_;
  const std::string_view text_;
  size_t searched_ = 0;         // the end of the last match
  size_t covered_ = 0;          // the end of the last piece
  std::optional<Piece> ahead_;  // a token whose text before it was given out
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_ADDED_TOKENS_H_
