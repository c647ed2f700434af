#ifndef OLMOE_SERVER_LIMITS_ANSWER_WATCH_H_
#define OLMOE_SERVER_LIMITS_ANSWER_WATCH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace olmoe::limits {

// Answers on their way to clients that may not read them: each has time for a slow line, and
// then its writer is told. Thread-safe.
class AnswerWatch {
 public:
  struct Options {
    absl::Duration timeout = absl::Seconds(30);
    int64_t bytes_per_second = 256 << 10;  // a slower line is a client that does not read
    // To a call that was cancelled because of it, before its connection goes.
    absl::Duration grace = absl::Seconds(3);
    std::function<absl::Time()> now = absl::Now;
  };

  class Writer {
   public:
    virtual ~Writer() = default;
    // Nobody reads. `again`: it was told once and has not ended since. On the thread that ticks,
    // without a lock.
    virtual void OnUnread(bool again) = 0;
  };

  explicit AnswerWatch(Options options) : options_(std::move(options)) {}

  void Begin(std::shared_ptr<Writer> writer, int64_t bytes);
  // The same with less time than others have.
  void BeginFor(std::shared_ptr<Writer> writer, absl::Duration timeout);
  // Written, or over. Harmless for one that has not begun.
  void End(const Writer* writer);

  // Tells those whose time is over.
  void Tick();
  bool empty() const;

 private:
  struct Entry {
    std::shared_ptr<Writer> writer;
    absl::Time due;
    bool told = false;
  };

  const Options options_;
  mutable absl::Mutex mu_;
  std::map<const Writer*, Entry> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::limits

#endif  // OLMOE_SERVER_LIMITS_ANSWER_WATCH_H_
