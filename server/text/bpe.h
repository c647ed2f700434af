#ifndef OLMOE_SERVER_TEXT_BPE_H_
#define OLMOE_SERVER_TEXT_BPE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
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
    std::vector<TokenId> fresh_;
    std::vector<TokenId> joint_;
  };

  // From this length on, a word is better encoded by a LongWord.
  static constexpr size_t kLongWordBytes = 16 << 10;

  // A word of any length, encoded block by block: no more memory than its tokens and its
  // blocks take, and the caller can give up between two of them. Thread-compatible.
  class LongWord {
   public:
    static constexpr size_t kBlockBytes = 8 << 10;
    static constexpr size_t kMarginBytes = 1 << 10;

    // `bpe` and `workspace` must outlive it, and the bytes of `word` too.
    LongWord(const Bpe* bpe, std::string_view word, Workspace* workspace,
             size_t block_bytes = kBlockBytes, size_t margin_bytes = kMarginBytes);

    bool done() const { return end_ == word_.size(); }
    // Encodes one more block. REQUIRES: not done().
    void Step();
    size_t num_ids() const { return ids_.size(); }
    // Moves the next tokens, at most `count` of them, to the end of `ids` and gives their
    // memory back. REQUIRES: done().
    void Take(size_t count, std::vector<TokenId>* ids);

   private:
    // Whether `left`, which ends at byte `cut`, and `right`, which begins there, stay apart.
    bool StayApart(TokenId left, TokenId right, size_t cut) const;

    const Bpe* const bpe_;
    Workspace* const workspace_;
    const size_t block_bytes_;
    const size_t margin_bytes_;
    std::string kept_;       // the word without bytes that have no token, where it has such
    std::string_view word_;  // what is encoded
    size_t end_ = 0;         // ids_ are the tokens of the bytes before
    std::deque<TokenId> ids_;  // grows without a copy
  };

  // `byte_ids`: the token of each byte, -1 for a byte that has none. `merges`: the
  // earlier, the sooner applied; of two for the same pair the later one counts.
  // `tokens`: those that a word may turn out to be as a whole. Of long words every token
  // must be one of them. `whole`: those that a word with just their bytes is, whatever the
  // merges make of it.
  Bpe(const std::array<TokenId, 256>& byte_ids, std::span<const BpeMerge> merges,
      std::span<const BpeToken> tokens, std::span<const BpeToken> whole = {});

  // Appends the tokens of `word`. Bytes without a token are left out. Time O(n log n)
  // of the block's length where the word is a long one, so linear.
  void EncodeWord(std::string_view word, Workspace* workspace, std::vector<TokenId>* ids) const;

 private:
  static constexpr uint32_t kNoMerge = UINT32_MAX;
  static constexpr size_t kMaxScanned = 48;

  uint32_t RankOf(TokenId left, TokenId right) const;
  void FindWholeWords(std::span<const BpeToken> tokens);
  void AddWholeWord(const BpeToken& token);

  bool HasTokensForAll(std::string_view word) const;

  void MergeWord(std::string_view word, Workspace* workspace, std::vector<TokenId>* ids) const;
  // Both merge `ids` in place and return how many are left.
  size_t MergeByScan(std::span<TokenId> ids) const;
  size_t MergeByQueue(std::span<TokenId> ids, Workspace* workspace) const;

  // Constant after construction.
  std::array<TokenId, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, uint32_t> ranks_;  // (left id, right id) -> rank
  std::vector<TokenId> merged_;                    // by rank
  std::vector<uint32_t> lengths_;                  // bytes, by id; 0 where there is none
  absl::flat_hash_map<std::string, TokenId> whole_words_;
  size_t longest_whole_word_ = 0;  // bytes
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_BPE_H_
