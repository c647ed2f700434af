#include "server/text/bpe.h"

#include <algorithm>
#include <functional>

#include "absl/strings/string_view.h"
#include "glog/logging.h"

// Byte-pair encoding (Sennrich, Haddow and Birch 2016, on bytes as in GPT-2). A word
// starts as one token a byte. While any two neighbours have a merge, the pair whose
// merge comes first in the list is replaced, the leftmost such pair first:
//
//   merges  t+h, h+e, th+e          t h e  ->  th e  ->  the
//   merges  h+e, t+h, th+e          t h e  ->  t he              (t+he: no merge)
//
// Three ways to the same result, by what a word costs:
//
//   whole words  Most words are a token of the vocabulary. Not every token is what
//                its own bytes merge to, so construction encodes each one and keeps
//                those that come out whole in a hash table. This is the cache that
//                other implementations fill at run time, without its lock and its
//                growth.
//   scan         Up to kMaxScanned bytes: ranks of all pairs in an array, the
//                smallest found by looking at all of them. O(n^2) of very small n.
//   queue        Longer words: tokens in a linked list, pairs in a priority queue by
//                (rank, position). A merge changes the pairs on both sides; their old
//                entries stay queued and are recognised as stale by their rank, since
//                a pair at one position never has the same rank twice: its tokens only
//                ever grow. At most 3n entries, so O(n log n).
//
// A very long word (a megabyte without a space, say) would make the queue's memory and its
// cache misses the cost of everything, so it is encoded in blocks (LongWord). What makes
// that exact: call two tokens apart if their bytes, joined, are encoded as just these two.
//
//   Tokens t1 .. tk, each the encoding of its own bytes, are the encoding of their joined
//   bytes if and only if every two neighbours are apart.
//
//   Proof. Until the first merge across one of the boundaries, say that of t and u, what
//   happens within the bytes of t and u is what happens when they are encoded alone: the
//   best pair of all, where it lies in there, is also the best in there. That merge would
//   hence happen alone as well. So if t and u are apart, there is no first such merge; and
//   if no merge crosses any boundary, none crosses that of t and u alone.
//
// So with the encoding of the first bytes known, a longer beginning is encoded by going
// some tokens back, encoding from there as if a word began, and looking whether the two
// tokens that meet are apart. Where they are not, further back, twice as far each time; in
// the end to the word's beginning, where nothing can be wrong. With tables that were
// trained on text the first attempt is right nearly always, so the cost is linear.
//
// Tested, all of it, against the definition above written as a plain loop.

namespace olmoe::text {
namespace {

uint64_t PairKey(TokenId left, TokenId right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Queue entries order by rank, then by position.
uint64_t QueueEntry(uint32_t rank, size_t position) {
  return (static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(position);
}

}  // namespace

Bpe::Bpe(const std::array<TokenId, 256>& byte_ids, std::span<const BpeMerge> merges,
         std::span<const BpeToken> tokens, std::span<const BpeToken> whole)
    : byte_ids_(byte_ids) {
  ranks_.reserve(merges.size());
  merged_.reserve(merges.size());
  for (const BpeMerge& merge : merges) {
    ranks_[PairKey(merge.left, merge.right)] = static_cast<uint32_t>(merged_.size());
    merged_.push_back(merge.merged);
  }
  for (const BpeToken& token : tokens) {
    if (static_cast<size_t>(token.id) >= lengths_.size()) lengths_.resize(token.id + 1);
    lengths_[token.id] = static_cast<uint32_t>(token.bytes.size());
  }
  for (const BpeToken& token : whole) AddWholeWord(token);
  FindWholeWords(tokens);
}

void Bpe::AddWholeWord(const BpeToken& token) {
  whole_words_.emplace(token.bytes, token.id);
  longest_whole_word_ = std::max(longest_whole_word_, token.bytes.size());
}

void Bpe::FindWholeWords(std::span<const BpeToken> tokens) {
  whole_words_.reserve(tokens.size());
  Workspace workspace;
  std::vector<TokenId> ids;
  for (const BpeToken& token : tokens) {
    ids.clear();
    MergeWord(token.bytes, &workspace, &ids);
    if (ids.size() == 1 && ids[0] == token.id) AddWholeWord(token);
  }
}

uint32_t Bpe::RankOf(TokenId left, TokenId right) const {
  const auto found = ranks_.find(PairKey(left, right));
  return found == ranks_.end() ? kNoMerge : found->second;
}

void Bpe::EncodeWord(std::string_view word, Workspace* workspace, std::vector<TokenId>* ids) const {
  if (word.size() <= longest_whole_word_) {
    const auto found = whole_words_.find(absl::string_view(word.data(), word.size()));
    if (found != whole_words_.end()) {
      ids->push_back(found->second);
      return;
    }
  }
  if (word.size() < kLongWordBytes) return MergeWord(word, workspace, ids);
  LongWord long_word(this, word, workspace);
  while (!long_word.done()) long_word.Step();
  long_word.Take(long_word.num_ids(), ids);
}

bool Bpe::HasTokensForAll(std::string_view word) const {
  return std::all_of(word.begin(), word.end(),
                     [this](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; });
}

void Bpe::MergeWord(std::string_view word, Workspace* workspace, std::vector<TokenId>* ids) const {
  CHECK_LE(word.size(), static_cast<size_t>(INT32_MAX));
  const size_t before = ids->size();
  for (const char byte : word) {
    const TokenId id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id >= 0) ids->push_back(id);
  }
  const std::span<TokenId> added(ids->data() + before, ids->size() - before);
  const size_t left =
      added.size() <= kMaxScanned ? MergeByScan(added) : MergeByQueue(added, workspace);
  ids->resize(before + left);
}

size_t Bpe::MergeByScan(std::span<TokenId> ids) const {
  size_t count = ids.size();
  if (count < 2) return count;
  std::array<uint32_t, kMaxScanned> ranks;  // ranks[i]: of the pair i, i + 1
  for (size_t i = 0; i + 1 < count; ++i) ranks[i] = RankOf(ids[i], ids[i + 1]);
  while (count > 1) {
    const size_t best = std::min_element(ranks.begin(), ranks.begin() + count - 1) - ranks.begin();
    if (ranks[best] == kNoMerge) break;
    ids[best] = merged_[ranks[best]];
    std::copy(ids.begin() + best + 2, ids.begin() + count, ids.begin() + best + 1);
    std::copy(ranks.begin() + best + 1, ranks.begin() + count - 1, ranks.begin() + best);
    --count;
    if (best > 0) ranks[best - 1] = RankOf(ids[best - 1], ids[best]);
    if (best + 1 < count) ranks[best] = RankOf(ids[best], ids[best + 1]);
  }
  return count;
}

size_t Bpe::MergeByQueue(std::span<TokenId> ids, Workspace* workspace) const {
  std::vector<Workspace::Node>& nodes = workspace->nodes_;
  std::vector<uint64_t>& queue = workspace->queue_;
  const int32_t count = static_cast<int32_t>(ids.size());
  nodes.clear();
  queue.clear();
  const auto set_rank = [&](int32_t position) {
    Workspace::Node& node = nodes[position];
    node.rank = node.next < count ? RankOf(node.id, nodes[node.next].id) : kNoMerge;
    return node.rank != kNoMerge;
  };
  const auto push = [&](int32_t position) {
    if (!set_rank(position)) return;
    queue.push_back(QueueEntry(nodes[position].rank, position));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };

  for (int32_t i = 0; i < count; ++i) nodes.push_back({ids[i], i - 1, i + 1, kNoMerge});
  for (int32_t i = 0; i < count; ++i) {
    if (set_rank(i)) queue.push_back(QueueEntry(nodes[i].rank, i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());

  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint32_t rank = static_cast<uint32_t>(queue.back() >> 32);
    const int32_t position = static_cast<int32_t>(queue.back() & UINT32_MAX);
    queue.pop_back();
    Workspace::Node& node = nodes[position];
    if (node.rank != rank) continue;  // stale
    Workspace::Node& right = nodes[node.next];
    right.rank = kNoMerge;
    node.id = merged_[rank];
    node.next = right.next;
    if (node.next < count) nodes[node.next].previous = position;
    push(position);
    if (node.previous >= 0) push(node.previous);
  }

  size_t left = 0;
  for (int32_t i = 0; i < count; i = nodes[i].next) ids[left++] = nodes[i].id;
  return left;
}

Bpe::LongWord::LongWord(const Bpe* bpe, std::string_view word, Workspace* workspace,
                        size_t block_bytes, size_t margin_bytes)
    : bpe_(bpe), workspace_(workspace), block_bytes_(block_bytes), margin_bytes_(margin_bytes) {
  word_ = word;
  if (bpe->HasTokensForAll(word)) return;
  for (const char byte : word) {
    if (bpe->byte_ids_[static_cast<uint8_t>(byte)] >= 0) kept_ += byte;
  }
  word_ = kept_;
}

void Bpe::LongWord::Step() {
  const size_t end = std::min(end_ + block_bytes_, word_.size());
  std::vector<TokenId>& fresh = workspace_->fresh_;
  size_t kept = ids_.size();
  size_t cut = end_;
  for (size_t margin = margin_bytes_;; margin *= 2) {
    while (kept > 0 && end_ - cut < margin) cut -= bpe_->lengths_[ids_[--kept]];
    fresh.clear();
    bpe_->MergeWord(word_.substr(cut, end - cut), workspace_, &fresh);
    if (kept == 0 || StayApart(ids_[kept - 1], fresh[0], cut)) break;
  }
  ids_.resize(kept);
  ids_.insert(ids_.end(), fresh.begin(), fresh.end());
  end_ = end;
}

void Bpe::LongWord::Take(size_t count, std::vector<TokenId>* ids) {
  const auto end = ids_.begin() + static_cast<ptrdiff_t>(std::min(count, ids_.size()));
  ids->insert(ids->end(), ids_.begin(), end);
  ids_.erase(ids_.begin(), end);
}

bool Bpe::LongWord::StayApart(TokenId left, TokenId right, size_t cut) const {
  const uint32_t left_bytes = bpe_->lengths_[left];
  std::vector<TokenId>& joint = workspace_->joint_;
  joint.clear();
  bpe_->MergeWord(word_.substr(cut - left_bytes, left_bytes + bpe_->lengths_[right]), workspace_,
                  &joint);
  return joint.size() == 2 && joint[0] == left && joint[1] == right;
}

}  // namespace olmoe::text
