#ifndef OLMOE_SERVER_LOG_REQUEST_LOG_H_
#define OLMOE_SERVER_LOG_REQUEST_LOG_H_

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/request_outcome.h"
#include "server/log/line_writer.h"
#include "server/log/log_line.h"
#include "server/log/repeat_limit.h"

namespace olmoe::log {

// One line for each finished request: never its text or its tokens, and no message, which
// may quote them. Requests that were refused are limited by code, since
// a client can repeat them without end: of each code a few in a period, and one line that
// says how many more there were, with the next request or at the end.
// Thread-safe; never waits for the log's reader.
class RequestLog {
 public:
  struct Options {
    LogFormat format = LogFormat::kText;
    RepeatLimit::Options refused = {};
    std::function<absl::Time()> now = absl::Now;
  };
  // `writer` outlives this.
  RequestLog(Options options, LineWriter* writer);
  ~RequestLog();

  void Add(const engine::RequestOutcome& outcome);

 private:
  void TellSuppressed(absl::Time over, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  LineWriter* const writer_;
  absl::Mutex mu_;
  RepeatLimit refused_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::log

#endif  // OLMOE_SERVER_LOG_REQUEST_LOG_H_
