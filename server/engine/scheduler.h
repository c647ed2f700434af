// Which rows the next step computes.
//
// The model's cost of a step hardly depends on its number of rows until there are hundreds: with 32
// rows nearly all weights are read, whatever else is in the batch. So a step takes all it can:
//
//   1. One row of every generation that has its prompt behind it. These come first, so a long
//      prompt never delays the next token of a running generation by more than a step.
//   2. Prompts and windows that have been begun, oldest first: what is begun gets finished.
//   3. New sequences in order of arrival, while rows, slots and pages are left. A sequence takes
//      its slot, and pages for all that it can ever need, in the step that computes its first row
//      and not before: waiting costs no memory. The last one may get fewer rows than it wants; the
//      next step continues it by 2.
//
//   max_tokens = 8; A and B decode, C has 3 of its 7 prompt rows left, D and E wait with 4 and 6:
//   A | B | C C C | D D D          next step: A | B | C | D | E E E E
//
// Fairness. The queue is strictly first in, first out: if the oldest request lacks pages or a slot,
// nobody overtakes it, so it waits only for sequences that have begun, and these need nothing more
// to end. A score request with windows left goes to the back of the queue each time one of them has
// begun, so it gives way to whatever came in meanwhile, and many score requests take turns.
//
// A sequence that must run alone (ScoreWork::last_logits) waits like any other. In the step in which
// it would begin it gets all rows and everybody else waits, decoding rows too; what it needs beyond
// max_tokens follows in the next steps, alone as well.
//
// Paused requests keep what they have and are passed over in all three parts.
//
// Cost: O(slots + queue) a step. Tests: tests/engine/{scheduler,isolation,stress}_test.cc.
#ifndef OLMOE_SERVER_ENGINE_SCHEDULER_H_
#define OLMOE_SERVER_ENGINE_SCHEDULER_H_

#include <deque>
#include <memory>
#include <vector>

#include "server/engine/live_request.h"
#include "server/engine/page_pool.h"
#include "server/engine/sequence.h"
#include "server/engine/step_observer.h"
#include "server/model/model.h"

namespace olmoe::engine {

// A chunk of the step and whose it is.
struct ScheduledChunk {
  Sequence* sequence = nullptr;
  LiveRequest* request = nullptr;  // sequence->request()
  Phase phase = Phase::kPrefill;
  int first_position = 0;  // in the sequence
  int first_row = 0;       // in the step
  int num_rows = 0;
};

struct ScheduledStep {
  model::StepBatch batch;
  std::vector<ScheduledChunk> chunks;  // as batch.chunks
  int num_rows = 0;
};

// Owns the sequences that have a slot, and their pages; borrows the requests.
// Engine thread only.
class Scheduler {
 public:
  // max_tokens >= max_sequences >= 1, so that every generation gets its row in every step.
  Scheduler(int max_sequences, int max_tokens, const model::KvCacheShape& kv_cache);

  // Lets `request` wait for its first slot. It must be Removed before it is deleted.
  void Add(LiveRequest* request);
  // Takes its slots, pages and place in the queue away.
  void Remove(LiveRequest* request);
  // The end of a sequence: its slot and pages are free.
  void Release(Sequence* sequence);

  // Chooses the next step; empty when there is nothing to compute. Requests that get their first
  // slot become kRunning. Valid until something of it is removed or released.
  void NextStep(ScheduledStep* step);

  const PagePool& pages() const { return pages_; }

 private:
  // True: the step is that of a sequence that runs alone.
  bool AddAlone(ScheduledStep* step);
  void AddDecodeRows(ScheduledStep* step);
  void ContinueBegun(ScheduledStep* step);
  void BeginWaiting(ScheduledStep* step);
  // The request whose next sequence would begin, if it may begin now.
  LiveRequest* NextToBegin();
  // Takes `request` out of the queue, or to its end if it has more sequences.
  Sequence* BeginSequence(LiveRequest* request);
  int RowsLeft(const ScheduledStep& step) const { return max_tokens_ - step.num_rows; }

  const int max_sequences_;
  const int max_tokens_;
  PagePool pages_;
  std::vector<std::unique_ptr<Sequence>> running_;  // have a slot, in the order they began
  std::deque<LiveRequest*> waiting_;                // have a sequence that has not begun
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_SCHEDULER_H_
