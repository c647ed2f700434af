#ifndef OLMOE_SERVER_ENGINE_SEQUENCE_H_
#define OLMOE_SERVER_ENGINE_SEQUENCE_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "server/engine/prefix_tree.h"
#include "server/engine/request.h"
#include "server/engine/step_observer.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"
#include "server/util/token_id.h"

namespace olmoe::engine {

class LiveRequest;

// The pages of a sequence that begins, and what they hold already.
struct Placement {
  std::vector<model::PageId> pages;
  std::vector<PrefixNode*> kept;  // of the first pages, held for the sequence
  RoutingTrace cached;            // counts and experts of the positions that need no computing
  // Of the prompt's tokens up to the one behind these positions, where they are wanted.
  std::vector<PromptScore> scores = {};
};

// A sequence that has a slot: a completion, or one window of a score request. Knows which of its
// rows are in the KV cache and which are to be computed next; owns the list of its pages, which
// come from the scheduler's pool and go back there. The request outlives it. Engine thread only.
class Sequence {
 public:
  // Completion number `index`, which has its prompt to compute.
  Sequence(LiveRequest* request, int index, std::vector<TokenId> prompt, Placement placement);
  // Window number `index` of a score request.
  Sequence(LiveRequest* request, int index, ScoreWindow window, Placement placement);
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  LiveRequest* request() const { return request_; }
  int index() const { return index_; }  // of its request's sequences
  const std::vector<model::PageId>& pages() const { return pages_; }
  // Those of the first pages that others may share.
  const std::vector<PrefixNode*>& kept() const { return kept_; }

  // The prompt, of which positions up to num_computed() are in the pages.
  std::span<const TokenId> prompt() const { return std::span(inputs_).first(prompt_inputs_); }
  bool in_prompt() const { return num_computed_ < static_cast<int>(prompt_inputs_); }
  int num_computed() const { return num_computed_; }
  // The tokens of the prompt are scored.
  bool scores_prompt() const { return scores_prompt_; }
  // Rows that could be computed now.
  int num_pending() const { return static_cast<int>(inputs_.size()) - num_computed_; }
  Phase phase() const;

  // The next num_rows <= num_pending() rows. The chunk points into this sequence, which must not
  // change before the step is over.
  model::Chunk NextChunk(int num_rows) const;
  // These rows have been computed.
  void Advance(int num_rows);
  // Hands the pages of the prompt that have become whole, or its end, to the tree. `ran`: of the
  // rows computed since the call before, at least those of the prompt.
  void Keep(RoutingTrace ran, int page_tokens, PrefixTree* tree);

  // Counts and experts of the positions that were found in the cache; of num_positions 0 from the
  // second call on.
  RoutingTrace TakeCached() { return std::exchange(cached_, RoutingTrace{}); }

  // A completion has drawn its next token, the input of the next row.
  void Append(TokenId token);

  // Keeps what the chunk whose first row is `first_position` scored.
  void AddScores(std::vector<model::ScoredRow> rows, int first_position);
  WindowScores& scores() { return scores_; }  // of a window
  // A completion that scores its prompt: the scores behind those that were taken before.
  std::vector<ScoredToken> TakePromptScores();

 private:
  void BeginUnkept();
  // Of a prompt of which `num_computed` positions and the scores up to there were found.
  void BeginScores(size_t num_computed);
  // Of the prompt's tokens of a page; empty where they are not known.
  std::vector<PromptScore> ScoresOf(size_t begin, size_t num) const;
  bool is_window() const;

  LiveRequest* const request_;
  const int index_;
  std::vector<model::PageId> pages_;
  std::vector<PrefixNode*> kept_;  // of the first pages
  RoutingTrace cached_;
  RoutingTrace unkept_;            // of the positions behind kept_ that are computed
  const int prompt_tokens_;       // rows behind them are late
  size_t prompt_inputs_ = 0;      // inputs that are of the prompt
  std::vector<TokenId> inputs_;   // a completion: prompt and generated tokens; never reallocated
  // [prompt_inputs_] where the prompt is scored, [inputs_.size()] of a window, else empty: what
  // each row scores, or kNoTarget.
  std::vector<TokenId> targets_;
  const bool scores_prompt_ = false;
  std::vector<PromptScore> prompt_scores_;  // of the prompt's first tokens, where it is scored
  int num_computed_ = 0;
  WindowScores scores_;           // not taken yet
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_SEQUENCE_H_
