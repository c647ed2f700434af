// Reading ExpertStats again and again, each reader for itself.
//
// A reading gives a cursor: the name of the counts at that moment, which are kept here.
// Passed back, it gives what was counted since. Nothing is ever reset, so readers do not
// disturb each other; and a cursor is a name rather than the counts themselves, so that it
// fits into a command line.
//
// What is kept is bounded (Options), so old cursors are forgotten. The one that its reader
// misses least goes first:
//   1. superseded: its reader has gone on with the cursor that it got for it;
//   2. single: read without a cursor and never passed back, or read once more from where
//      it came from;
//   3. live: all others, the longest unused first.
// So somebody who polls quickly, or who never passes a cursor back, takes no place from
// somebody who polls once an hour. Moments at which nothing new was counted share memory.
//
// A cursor also names the run of the server: after a restart counts begin at zero, and a
// difference to what was before would be wrong. Unknown, forgotten or of another run:
// FAILED_PRECONDITION, and the reader begins anew without a cursor.
//
// A mark is a moment without a name: what was counted in the last five minutes begins at the
// mark before that. Marks are closer together the newer they are, so few reach back a day.
#ifndef OLMOE_SERVER_STATS_STATS_CURSORS_H_
#define OLMOE_SERVER_STATS_STATS_CURSORS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/stats/expert_stats.h"

namespace olmoe::stats {

// How far back FindOlder reaches.
inline constexpr absl::Duration kLongestSince = absl::Hours(24);

// What was counted in (start, end].
struct StatsReading {
  std::vector<ExpertCounts> counts;  // without those that have no token
  absl::Time start, end;
  std::string cursor;  // names `end`
};

// Thread-safe.
class StatsCursors {
 public:
  struct Options {
    size_t max_cursors = 256;
    size_t max_bytes = size_t{64} << 20;  // of counts, but for those of the newest cursor
    size_t max_mark_bytes = size_t{32} << 20;  // of counts of marks, but for the newest
    uint64_t run = 0;  // different in each run of the server
    std::function<absl::Time()> now = absl::Now;
  };
  // `stats` outlives this and has counted nothing yet.
  StatsCursors(const ExpertStats* stats, Options options);

  // Where a reader is. Keeps its counts: its own next reading never fails.
  struct Position {
    uint64_t id = 0;  // 0: the beginning
    absl::Time time;
    std::shared_ptr<const std::vector<ExpertCounts>> counts;
  };
  // Of a cursor; empty: the beginning. Errors: INVALID_ARGUMENT naming `field` for what
  // never was a cursor; FAILED_PRECONDITION (CURSOR_EXPIRED).
  absl::StatusOr<Position> Find(std::string_view cursor, std::string_view field) const;

  // Where the counts stood `ago`: the newest mark of that age or older, else the beginning.
  Position FindOlder(absl::Duration ago) const;
  // Keeps the counts of this moment for FindOlder. Somebody calls it now and then; of the marks
  // made those stay whose distance is an eighth of their age, for a day.
  void Mark();

  // What was counted since `position`, which moves on to now.
  StatsReading Read(Position* position);
  std::vector<std::string> ArmIds() const { return stats_->ArmIds(); }

 private:
  enum class Worth { kSuperseded, kSingle, kLive };
  struct Kept {
    Position position;
    uint64_t parent = 0;      // read since this one; 0: since the beginning
    uint64_t last_child = 0;  // read since it; 0: none yet
    Worth worth = Worth::kSingle;
    uint64_t last_used = 0;
  };

  std::string CursorOf(uint64_t id) const;
  Position Keep(uint64_t parent, std::shared_ptr<const std::vector<ExpertCounts>> counts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnUsed(uint64_t id, uint64_t child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Kept* FindKept(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ThinMarks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool TooMuch() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  const ExpertStats* const stats_;
  const Options options_;
  const Position beginning_;

  mutable absl::Mutex mu_;
  std::map<uint64_t, Kept> kept_ ABSL_GUARDED_BY(mu_);  // by id, ascending in time
  std::vector<Position> marks_ ABSL_GUARDED_BY(mu_);  // ascending in time
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t clock_ ABSL_GUARDED_BY(mu_) = 0;  // of last_used
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_STATS_CURSORS_H_
