#ifndef OLMOE_SERVER_TEXT_BPE_H_
#define OLMOE_SERVER_TEXT_BPE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/util/token_id.h"

namespace olmoe::text {

// One rule of a BPE model: two neighbouring tokens become one.
struct BpeMerge {
  TokenId left;
  TokenId right;
  TokenId merged;
};

// A token of the model's vocabulary and the bytes it stands for.
struct BpeToken {
  TokenId id;
  std::string_view bytes;
};

// Byte-pair encoding of single words. Immutable after construction: thread-safe.
class Bpe {
 public:
  // Memory that EncodeWord reuses from one word to the next. Thread-compatible.
  class Workspace {
    friend class Bpe;
    struct Node {
      TokenId id;
      int32_t previous;
      int32_t next;
      uint32_t rank;  // of the pair of this node and the next; kNoMerge once merged away
    };
    std::vector<Node> nodes_;
    std::vector<uint64_t> queue_;
  };

  // `byte_ids`: the token of each byte, -1 for a byte that has none. `merges`: the
  // earlier, the sooner applied; of two for the same pair the later one counts.
  // `tokens`: those that a word may turn out to be as a whole.
  Bpe(const std::array<TokenId, 256>& byte_ids, std::span<const BpeMerge> merges,
      std::span<const BpeToken> tokens);

  // Appends the tokens of `word`, of fewer than 2^31 bytes. Bytes without a token
  // are left out. O(n log n).
  void EncodeWord(std::string_view word, Workspace* workspace, std::vector<TokenId>* ids) const;

 private:
  static constexpr uint32_t kNoMerge = UINT32_MAX;
  static constexpr size_t kMaxScanned = 48;

  uint32_t RankOf(TokenId left, TokenId right) const;
  void FindWholeWords(std::span<const BpeToken> tokens);

  void MergeWord(std::string_view word, Workspace* workspace, std::vector<TokenId>* ids) const;
  // Both merge `ids` in place and return how many are left.
  size_t MergeByScan(std::span<TokenId> ids) const;
  size_t MergeByQueue(std::span<TokenId> ids, Workspace* workspace) const;

  // Constant after construction.
  std::array<TokenId, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, uint32_t> ranks_;  // (left id, right id) -> rank
  std::vector<TokenId> merged_;                    // by rank
  absl::flat_hash_map<std::string, TokenId> whole_words_;
  size_t longest_whole_word_ = 0;  // bytes
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_BPE_H_
