#ifndef OLMOE_SERVER_LOG_REQUEST_LOG_H_
#define OLMOE_SERVER_LOG_REQUEST_LOG_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/log/line_writer.h"
#include "server/log/log_line.h"
#include "server/log/repeat_limit.h"

namespace olmoe::log {

// What the log tells about a request: never its text or its tokens, and no message, which
// may quote them.
struct FinishedRequest {
  // Of a request that the engine accepted.
  struct Work {
    uint64_t prompt_tokens = 0;
    uint64_t completion_tokens = 0;
    absl::Duration queue, time_to_first_token, total;
  };

  std::string_view method;
  std::string_view request_id;
  std::string_view arm_id;     // empty: refused before an arm was found
  std::string_view policy_id;  // of that arm
  uint64_t generation = 0;
  std::string_view code;           // "OK"
  std::string_view finish_reason;  // "length"; empty: it is no finished generation
  std::optional<Work> work;
};

// One line for each finished request. Requests that were refused are limited by code, since
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

  void Add(const FinishedRequest& request);

 private:
  void TellSuppressed(absl::Time over, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  LineWriter* const writer_;
  absl::Mutex mu_;
  RepeatLimit refused_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::log

#endif  // OLMOE_SERVER_LOG_REQUEST_LOG_H_
