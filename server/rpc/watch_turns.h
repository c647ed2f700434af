#ifndef OLMOE_SERVER_RPC_WATCH_TURNS_H_
#define OLMOE_SERVER_RPC_WATCH_TURNS_H_

namespace olmoe::rpc {

// Whose turn it is in a stream that writes every interval what is new: at most one write
// under way, Finish exactly once and never during a write. Intervals that pass during a
// write are one write after it, so a slow reader gets fewer messages and no queue.
// Thread-compatible.
class WatchTurns {
 public:
  enum class Do { kNothing, kWrite, kFinish };

  // An interval has passed.
  Do OnDue() {
    due_ = true;
    return Next();
  }
  Do OnWritten() {
    writing_ = false;
    return Next();
  }
  // The stream is to end; also more than once.
  Do OnEnd() {
    ending_ = true;
    return Next();
  }

 private:
  Do Next() {
    if (writing_ || finished_) return Do::kNothing;
    if (ending_) {
      finished_ = true;
      return Do::kFinish;
    }
    if (!due_) return Do::kNothing;
    due_ = false;
    writing_ = true;
    return Do::kWrite;
  }

  bool due_ = false;
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_WATCH_TURNS_H_
