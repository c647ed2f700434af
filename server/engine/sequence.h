#ifndef OLMOE_SERVER_ENGINE_SEQUENCE_H_
#define OLMOE_SERVER_ENGINE_SEQUENCE_H_

#include <vector>

#include "server/engine/request.h"
#include "server/engine/step_observer.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"
#include "server/util/token_id.h"

namespace olmoe::engine {

class LiveRequest;

// A sequence that has a slot: a completion, or one window of a score request. Knows which of its
// rows are in the KV cache and which are to be computed next; owns the list of its pages, which
// come from the scheduler's pool and go back there. The request outlives it. Engine thread only.
class Sequence {
 public:
  // A completion that has its prompt to compute.
  Sequence(LiveRequest* request, std::vector<TokenId> prompt, int max_new_tokens,
           std::vector<model::PageId> pages);
  // Window number `index` of a score request.
  Sequence(LiveRequest* request, int index, ScoreWindow window, std::vector<model::PageId> pages);
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  LiveRequest* request() const { return request_; }
  const std::vector<model::PageId>& pages() const { return pages_; }

  int num_computed() const { return num_computed_; }
  // Rows that could be computed now.
  int num_pending() const { return static_cast<int>(inputs_.size()) - num_computed_; }
  Phase phase() const;

  // The next num_rows <= num_pending() rows. The chunk points into this sequence, which must not
  // change before the step is over.
  model::Chunk NextChunk(int num_rows) const;
  // These rows have been computed.
  void Advance(int num_rows);

  // A completion has drawn its next token, the input of the next row.
  void Append(TokenId token);

  // A window: keeps what the chunk whose first row is `first_position` scored.
  void AddScores(std::vector<model::ScoredRow> rows, int first_position);
  WindowScores& scores() { return scores_; }

 private:
  bool is_window() const { return !targets_.empty(); }

  LiveRequest* const request_;
  const std::vector<model::PageId> pages_;
  const int prompt_tokens_;       // rows behind them are late
  std::vector<TokenId> inputs_;   // a completion: prompt and generated tokens; never reallocated
  std::vector<TokenId> targets_;  // a window: [inputs_.size()], kNoTarget where not scored
  int num_computed_ = 0;
  WindowScores scores_;           // a window
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_SEQUENCE_H_
