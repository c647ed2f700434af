// Which rows the next step computes.
//
// The model's cost of a step hardly depends on its number of rows until there are hundreds: with 32
// rows nearly all weights are read, whatever else is in the batch. So a step takes all decoding
// rows and one group of other rows, as large as pays:
//
//   1. One row of every completion that has its prompt behind it. They do not count against the
//      group: a prompt of just the group's size is never cut because somebody decodes.
//   2. Prompts that have been begun, then windows that have been begun, oldest first: what is begun
//      gets finished.
//   3. New sequences in order of arrival, while the group, slots and pages last. A sequence takes
//      its slot, and pages for all that it can ever need, in the step that computes its first row
//      and not before: waiting costs no memory. The last one may get fewer rows than it wants; the
//      next step continues it by 2. If no more than an eighth of the group were missing to its end,
//      it gets those as well: a step of its own for a few rows would read all weights once more.
//
//   group_rows = 8; A and B decode, C has 3 of its 7 prompt rows left, D and E wait with 4 and 6:
//   A | B | C C C | D D D D | E          next step: A | B | C | D | E E E E E
//
// Latency of those who decode. While somebody does, the group is at most PrefillBudget::rows(),
// which an inter-token latency target bounds. And scoring yields: after a step in which windows
// shared the time of decoding rows, none do until steps without windows have taken as long, so
// scoring slows completions down by half at the most, and is never shut out.
//
// Fairness. The queue is strictly first in, first out: if the oldest request lacks pages or a slot,
// nobody overtakes it (but for the score requests that yield), so it waits only for sequences that
// have begun, and these need nothing more to end. A score request with windows left goes to the
// back of the queue each time one of them has begun, so it gives way to whatever came in meanwhile,
// and many score requests take turns.
//
// A sequence that must run alone (ScoreWork::last_logits) waits like any other. In the step in which
// it would begin it gets all rows and everybody else waits, decoding rows too; what it needs beyond
// the group follows in the next steps, alone as well.
//
// Paused requests keep what they have and are passed over in all three parts.
//
// Prompts that are in the cache (prefix_tree.h) are not computed again. A sequence holds the whole
// pages that it shares; of the page after them, which it will write to, it gets a copy. If a
// sequence that has begun is about to compute a page or more of a prompt, those that want the same
// wait until it has, and others pass them meanwhile: sixteen choices of one question compute its
// context once. The wait is for one prompt at the most, of a sequence that nothing stops.
//
// Cost: O(slots + queue) a step. Tests: tests/engine/{scheduler,isolation,stress}_test.cc.
#ifndef OLMOE_SERVER_ENGINE_SCHEDULER_H_
#define OLMOE_SERVER_ENGINE_SCHEDULER_H_

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "server/engine/live_request.h"
#include "server/engine/page_pool.h"
#include "server/engine/prefill_budget.h"
#include "server/engine/prefix_tree.h"
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
  int first_row = 0;  // in the step
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
  struct Options {
    int max_sequences = 1;  // >= 1
    int group_rows = 1;  // >= 1; of prompts and windows in one step
    // Between two tokens of a completion; zero: as long as the group takes.
    absl::Duration itl_target = absl::ZeroDuration();
    // Rows of one step at the most.
    int MaxStepRows() const;
  };

  Scheduler(const Options& options, const model::KvCacheShape& kv_cache);

  // Lets `request` wait for its first slot. It must be Removed before it is deleted.
  void Add(LiveRequest* request);
  // Takes its slots, pages and place in the queue away.
  void Remove(LiveRequest* request);
  // The end of a sequence: its slot and pages are free.
  void Release(Sequence* sequence);
  // The rows of a chunk are in the pages: those of a prompt may be shared from now on.
  void Keep(const ScheduledChunk& chunk, const routing::RoutingRecord& record);

  // Chooses the next step; empty when there is nothing to compute. Requests that get their first
  // slot become kRunning. Valid until something of it is removed or released.
  void NextStep(ScheduledStep* step);
  // The step that NextStep chose last took this long.
  void OnStepDone(const ScheduledStep& step, absl::Duration step_time);

  // Pages of sequences that have a slot.
  int used_pages() const { return pages_.used() - prefixes_.num_idle(); }
  // Pages that hold prompts, used or not.
  int kept_pages() const { return prefixes_.num_pages(); }

 private:
  // The rows that a step can still take besides decoding rows.
  class Group;

  // True: the step is that of a sequence that runs alone.
  bool AddAlone(ScheduledStep* step);
  void AddDecodeRows(ScheduledStep* step);
  void ContinueBegun(Phase phase, Group* group);
  void BeginWaiting(ScheduledStep* step, Group* group);
  // A request and what of its next prompt is kept; until the tree changes.
  struct Candidate {
    LiveRequest* request = nullptr;
    PrefixTree::Match match;
  };
  // The one whose next sequence would begin, if it may begin now.
  Candidate NextToBegin();
  // Takes the request out of the queue, or to its end if it has more sequences.
  Sequence* BeginSequence(Candidate next, ScheduledStep* step);
  PrefixTree::Match FindPrompt(const LiveRequest& request) const;
  bool HasPagesFor(const LiveRequest& request, const PrefixTree::Match& match) const;
  Placement Place(const LiveRequest& request, PrefixTree::Match match, ScheduledStep* step);
  // True: what it waits for is still being computed.
  bool AwaitsProducer(const LiveRequest* request);
  // True: from now on it waits for a running sequence that computes more of its prompt than `match`.
  bool FindProducer(const LiveRequest* request, const PrefixTree::Match& match);
  void GiveBack(const Sequence& sequence);
  bool MayRun(const LiveRequest& request) const;

  const Options options_;
  const int page_tokens_;
  PagePool pages_;
  PrefixTree prefixes_{page_tokens_, &pages_};
  PrefillBudget budget_;  // of a step that has decoding rows
  // How long decoding rows are still to be left without windows.
  absl::Duration score_debt_ = absl::ZeroDuration();
  bool windows_yield_ = false;  // in the step that is being chosen
  std::vector<std::unique_ptr<Sequence>> running_;  // have a slot, in the order they began
  std::deque<LiveRequest*> waiting_;  // have a sequence that has not begun
  // What a waiting request wants is computed by a running sequence.
  struct Wait {
    const Sequence* producer = nullptr;
    int positions = 0;  // that it has to have computed
  };
  std::map<const LiveRequest*, Wait> waits_;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_SCHEDULER_H_
