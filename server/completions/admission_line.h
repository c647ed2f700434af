#ifndef OLMOE_SERVER_COMPLETIONS_ADMISSION_LINE_H_
#define OLMOE_SERVER_COMPLETIONS_ADMISSION_LINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::completions {

// Where calls wait until there is a place, memory and room in the queue for them. A quarter of the
// places is left to others than the client that has most of them. In the order of
// their tickets, which they take when they come: who comes back to the line stands before all who
// came later. Where one cannot enter, the others of its client wait too, and those of other clients
// have their turn, so that nobody's share of the queue holds up the rest. Nothing is polled: who
// frees something wakes the line. Its thread lets calls in, ends those that have waited too long,
// and sleeps otherwise. Thread-safe.
class AdmissionLine {
 public:
  struct Options {
    size_t max_places = 256;     // calls that are handled at once
    size_t max_waiting = 1024;   // of all clients
  };

  // A call. Its methods are called on the line's thread, without a lock.
  class Waiter {
   public:
    virtual ~Waiter() = default;
    // Whether it leaves the line: it has what it needs, or has ended. False: it goes on waiting,
    // until something is freed.
    virtual bool TryEnter() = 0;
    // Until when it waits; asked when it joins and when it could not enter.
    virtual absl::Time WaitsUntil() const = 0;
    // It has left the line: RESOURCE_EXHAUSTED with RetryInfo (it waited too long), or UNAVAILABLE
    // (the server ends).
    virtual void OnTurnedAway(const absl::Status& status) = 0;
  };

  struct Wish {
    std::string client;
    uint64_t ticket = 0;
  };

  // Throws std::system_error where there is no thread.
  explicit AdmissionLine(Options options);
  ~AdmissionLine();

  // Of a call, which gives it back with its end, and with it the place of `client`.
  uint64_t TakeTicket();
  void ReturnTicket(const std::string& client, bool has_place);
  // Leads to TryEnter. Errors, after which it is not in the line: UNAVAILABLE after Shut, and for
  // one that has no place yet RESOURCE_EXHAUSTED with RetryInfo where the line is too long.
  // REQUIRES: it is not in the line.
  absl::Status Join(std::shared_ptr<Waiter> waiter, const Wish& wish, bool has_place);
  // Whether it was there; if not, it may be in TryEnter.
  bool Leave(uint64_t ticket);

  // For TryEnter: whether there is a place for this client (empty: nobody, who has no share), and
  // then one of them until the ticket is given back.
  bool HasPlace(const std::string& client) const;
  void TakePlace(const std::string& client);

  // Something was freed. Never waits.
  void Wake();
  // Everybody is turned away, and so are those who come later.
  void Shut();
  // The same, and returns when nobody is in the line any more. Calling it again does nothing.
  void Stop();
  // Until all tickets were given back.
  void AwaitNone() const;

  size_t num_waiting() const;

 private:
  struct Entry {
    std::shared_ptr<Waiter> waiter;
    std::string client;
    absl::Time deadline;
    bool was_tried = false;  // before, it is not turned away for its deadline
  };

  void Loop();
  void Sleep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return woken_ || stopping_; }
  void TurnAway(bool all) ABSL_LOCKS_EXCLUDED(mu_);
  void LetIn() ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the next one from `*ticket` on, of a client that is not `blocked`, out of the line.
  bool TakeNext(const std::set<std::string>& blocked, uint64_t* ticket, Entry* entry)
      ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;

  mutable absl::Mutex mu_;
  std::map<uint64_t, Entry> waiting_ ABSL_GUARDED_BY(mu_);  // by ticket
  uint64_t next_ticket_ ABSL_GUARDED_BY(mu_) = 1;
  size_t num_tickets_ ABSL_GUARDED_BY(mu_) = 0;  // not given back
  size_t num_places_ ABSL_GUARDED_BY(mu_) = 0;  // taken
  std::map<std::string, size_t> places_ ABSL_GUARDED_BY(mu_);  // by client, none that has none
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  bool shut_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t entering_ ABSL_GUARDED_BY(mu_) = 0;  // whose TryEnter runs; 0: nobody's
  bool left_ ABSL_GUARDED_BY(mu_) = false;      // while it ran
  absl::once_flag stopped_;

  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_ADMISSION_LINE_H_
