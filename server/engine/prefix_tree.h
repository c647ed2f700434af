#ifndef OLMOE_SERVER_ENGINE_PREFIX_TREE_H_
#define OLMOE_SERVER_ENGINE_PREFIX_TREE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/engine/page_pool.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"
#include "server/util/token_id.h"

namespace olmoe::engine {

// What a prompt says about one of its tokens.
struct PromptScore {
  float logprob = 0;          // nats
  uint32_t rank = 0;          // 1 = the most likely token
  model::TokenLogprob first;  // the most likely token
};

// A page of the KV cache that holds the keys and values of `tokens`, which follow those of its
// parent's.
struct PrefixNode {
  PrefixNode* parent = nullptr;  // null: of a root, which has no page
  std::string root;              // of a root: its name
  model::PageId page = -1;
  std::vector<TokenId> tokens;  // 1..page_tokens; fewer only at the end of a prompt
  RoutingTrace trace;           // counts and experts of those positions
  // Of each of the tokens given all before it (of the first of all: nothing); empty: not known.
  std::vector<PromptScore> scores;
  int holders = 0;              // sequences that need the page
  uint64_t last_used = 0;       // when the last of them let go
  // By the first of their tokens.
  std::unordered_map<TokenId, std::vector<std::unique_ptr<PrefixNode>>> children;
};

// The prompts whose keys and values are in the KV cache, page by page. Sequences hold the pages
// that they use; a page that nobody holds keeps what it has until its memory is wanted, and counts
// as free. Least recently used pages go first, and never before those that follow them.
//
// Two positions share a page only where everything that their keys and values depend on is equal:
// all tokens up to there, which are compared, and the root: what routes prompts, and whose they are.
// Nothing rests on a hash.
//
// Thread-compatible; the engine uses it on its own thread only.
class PrefixTree {
 public:
  // `pool` has the pages and outlives this.
  PrefixTree(int page_tokens, PagePool* pool);
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  // A beginning of a prompt that is kept.
  struct Match {
    std::vector<PrefixNode*> pages;       // whole ones, in order
    const PrefixNode* partial = nullptr;  // has `partial_tokens` >= 1 of the next page
    int partial_tokens = 0;
    int num_idle = 0;  // of `pages`, that nobody holds
    int num_tokens = 0;
  };
  // The longest one of at most `limit` tokens; with `scored` of those whose scores are kept. Valid
  // until the tree changes.
  Match Find(std::string_view root, std::span<const TokenId> tokens, int limit,
             bool scored = false) const;
  // Of the tokens of a match that was found with `scored`.
  static std::vector<PromptScore> ScoresOf(const Match& match);

  // From now on the caller needs these pages.
  void Hold(std::span<PrefixNode* const> nodes);
  void LetGo(std::span<PrefixNode* const> nodes);

  // Forgets what is kept of `root`, of which nobody holds a page.
  void Forget(std::string_view root);

  // Keeps what `page`, taken from the pool, holds behind `parent` (null: at the beginning), which
  // the caller holds. Returns the node, held once for the caller: a new one, or, where these tokens
  // are kept already, the one that has them, and `page` is free. Null, and `page` stays the
  // caller's, where the tokens do not fill it and are kept in some page.
  PrefixNode* Insert(std::string_view root, PrefixNode* parent, model::PageId page,
                     std::span<const TokenId> tokens, RoutingTrace trace,
                     std::vector<PromptScore> scores = {});

  // Gives pages that nobody holds back to the pool until `num_pages` are available there; CHECKs
  // that there are so many.
  void MakeRoom(int num_pages);

  int num_idle() const { return num_idle_; }    // pages that nobody holds
  int num_pages() const { return num_pages_; }  // that are kept

 private:
  struct Older {
    bool operator()(const PrefixNode* a, const PrefixNode* b) const {
      return a->last_used < b->last_used;
    }
  };

  void Remove(PrefixNode* node);
  void EraseChild(PrefixNode* parent, const PrefixNode* child);
  bool IsRemovable(const PrefixNode& node) const;

  const int page_tokens_;
  PagePool* const pool_;
  std::map<std::string, std::unique_ptr<PrefixNode>, std::less<>> roots_;
  std::set<PrefixNode*, Older> removable_;  // nobody holds them, nothing follows
  uint64_t clock_ = 0;
  int num_idle_ = 0;
  int num_pages_ = 0;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_PREFIX_TREE_H_
