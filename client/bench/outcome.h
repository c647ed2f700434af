#ifndef OLMOE_CLIENT_BENCH_OUTCOME_H_
#define OLMOE_CLIENT_BENCH_OUTCOME_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::bench {

// What is measured: requests due from `begin` on, tokens that arrive in [begin, end).
struct TimeWindow {
  absl::Time begin = absl::InfinitePast();
  absl::Time end = absl::InfiniteFuture();
  bool Has(absl::Time time) const { return begin <= time && time < end; }
};

// One request, seen from the client. Latencies count from the time at which it was due, not
// from that at which it was sent: a client that comes late must not hide a slow server.
struct Outcome {
  // `tokens` tokens came `gap` after the message before.
  struct Gap {
    absl::Duration gap;
    uint32_t tokens = 0;
  };

  uint64_t unit = 0;  // number of the unit that it belongs to
  bool is_score = false;
  bool abandoned = false;  // cancelled by Ctrl-C: neither a result nor an error
  absl::Time due, done;
  absl::Duration send_delay;  // from due to sent
  absl::Status status;
  v1::RoutingStamp stamp;  // as far as the server has told
  uint32_t prompt_tokens = 0, completion_tokens = 0, tokens_in_window = 0;
  uint32_t scored_tokens = 0;
  double logprob_sum = 0;  // nats
  std::optional<absl::Duration> first_token;
  std::vector<Gap> gaps;
  absl::Duration queue;  // as the reply tells
};

// Takes the times of one request: events in their order, then Finish once, maybe on several
// threads but not at the same time. Thread-compatible.
class OutcomeTimer {
 public:
  OutcomeTimer(absl::Time due, absl::Time sent, TimeWindow window, uint64_t unit = 0);

  void OnEvent(const v1::GenerateStreamResponse& event, absl::Time now);
  Outcome Finish(const absl::Status& status, absl::Time now);
  Outcome Finish(const absl::StatusOr<v1::ScoreResponse>& response, absl::Time now);

 private:
  void OnTokens(uint32_t count, absl::Time now);

  const TimeWindow window_;
  Outcome outcome_;
  absl::Time last_;  // of the message with tokens before
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_OUTCOME_H_
