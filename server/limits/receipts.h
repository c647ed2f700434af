#ifndef OLMOE_SERVER_LIMITS_RECEIPTS_H_
#define OLMOE_SERVER_LIMITS_RECEIPTS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/limits/request_memory.h"

namespace olmoe::limits {

// Who may read a message from its client, and when. How large a message is, gRPC tells only
// once all of it is in memory. So a message is read on a turn, for which memory for the largest
// one is held; what it did not need is given back when it has come. Turns are short: who finds
// none waits in line, clients by turns, of one client the newest first: where a line grows long, its
// oldest calls are those that send nothing. Where none is to be had, because memory is in use
// otherwise, a call is refused at once. A client that has begun a message and lets others wait
// for longer than its patience loses the turn. Thread-safe.
class Receipts {
 public:
  struct Options {
    int64_t max_message_bytes = int64_t{16} << 20;
    size_t max_turns = 64;  // at a time, so that calls that send nothing do not hold all memory
    // That turns leave free, for the calls that come meanwhile.
    int64_t reserve_bytes = int64_t{16} << 20;
    std::function<absl::Time()> now = absl::Now;
  };

  // A call that reads. Its methods are called without a lock, on any thread.
  class Receiver {
   public:
    virtual ~Receiver() = default;
    // Read now; Received or Withdraw follows.
    virtual void OnTurn() = 0;
    // The call is to end with this status: there is no memory, or it let others wait.
    virtual void OnDropped(absl::Status status) = 0;
  };

  struct Wish {
    std::string client;
    RequestMemory::Hold* hold = nullptr;  // the receiver's; not touched by others until it is done
    absl::Duration patience = absl::Seconds(1);  // how long it may make others wait
    // It is dropped where memory is in use otherwise; else it waits for that too.
    bool refuse = true;
  };

  explicit Receipts(Options options) : options_(std::move(options)) {}

  // Leads to one OnTurn or OnDropped, maybe before this returns.
  void Ask(std::shared_ptr<Receiver> receiver, Wish wish);
  // The turn is over: `bytes` more than before it stay held. False: it was dropped or withdrawn.
  bool Received(const Receiver* receiver, int64_t bytes);
  // It does not want to read any more. False: it had no wish and no turn, or was dropped.
  bool Withdraw(const Receiver* receiver);
  // Its hold is gone: last call for a receiver that was dropped or withdrawn on its turn.
  void Close(const Receiver* receiver);

  // Memory has become free, or time has passed.
  void Pump();
  // From now on everybody is dropped, with UNAVAILABLE: those who have or want a turn, and all
  // who come.
  void Shut();
  bool anybody_waits() const;

 private:
  struct Entry {
    std::shared_ptr<Receiver> receiver;
    Wish wish;
    int64_t bytes_before = 0;  // that its hold had before the turn
    absl::Time since = {};  // of the turn
    absl::Status why = {};  // it was dropped
  };

  bool BeginOne(std::vector<Entry>* begun) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Those who have had a turn for longer than their patience, or all.
  void DropTurns(bool all, const absl::Status& why, std::vector<Entry>* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Those who wait and of whom `leaves` is true.
  void DropWaiting(absl::FunctionRef<bool(const Entry&)> leaves, const absl::Status& why,
                   std::vector<Entry>* dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable absl::Mutex mu_;
  bool shut_ ABSL_GUARDED_BY(mu_) = false;
  // Clients in the order in which they come next, each with its receivers.
  std::deque<std::string> order_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::deque<Entry>> waiting_ ABSL_GUARDED_BY(mu_);
  std::list<Entry> turns_ ABSL_GUARDED_BY(mu_);  // oldest first
  // Lost their turn, still hold its memory.
  std::vector<const Receiver*> ending_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::limits

#endif  // OLMOE_SERVER_LIMITS_RECEIPTS_H_
