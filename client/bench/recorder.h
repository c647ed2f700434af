#ifndef OLMOE_CLIENT_BENCH_RECORDER_H_
#define OLMOE_CLIENT_BENCH_RECORDER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "client/bench/arm_units.h"
#include "client/bench/histogram.h"
#include "client/bench/outcome.h"

namespace olmoe::client::bench {

struct ErrorCount {
  uint64_t count = 0;
  std::string first_message;
};

// Sums over requests. Latencies are of requests that succeeded.
struct Numbers {
  uint64_t requests = 0;  // that ended, with an error too
  uint64_t completed_in_window = 0;
  std::map<std::string, ErrorCount> errors;  // by name of the code
  uint64_t prompt_tokens = 0, completion_tokens = 0, scored_tokens = 0;
  uint64_t tokens_in_window = 0;
  double logprob_sum = 0;  // nats
  // A message of n tokens counts as n inter-token latencies of a n-th of its gap: there are
  // as many as tokens after the first, and their sum is the time from first to last.
  Histogram first_token, inter_token, duration, score_duration, queue;
  std::set<std::string> policies;

  uint64_t ErrorSum() const;
};

// A run: all, and by arm. An error before the server named the arm is in `all` alone.
struct Measurement {
  TimeWindow window;
  absl::Time end;  // of what was measured
  Numbers all;
  std::map<std::string, Numbers> arms;
  std::map<std::string, ArmUnits> units;  // of the arms
  std::set<uint64_t> generations;
  Histogram send_delay;
  uint64_t warmup_requests = 0, abandoned = 0, dropped = 0;

  double Seconds() const;
  double ErrorRatio() const;  // errors and drops, of all that were due
};

// Adds outcomes up. Requests due before the window count as warm-up, only their tokens in
// the window go into the tokens a second. Thread-compatible.
class Recorder {
 public:
  explicit Recorder(TimeWindow window) { measurement_.window = window; }

  void Add(const Outcome& outcome);
  void AddDropped(absl::Time due);
  const Measurement& measurement() const { return measurement_; }
  // The measurement ends at `now`, or at the end of its window.
  Measurement Finish(absl::Time now) &&;

 private:
  Measurement measurement_;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_RECORDER_H_
