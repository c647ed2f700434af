#ifndef OLMOE_SERVER_STATS_REQUEST_STATS_H_
#define OLMOE_SERVER_STATS_REQUEST_STATS_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "prometheus/metric_family.h"
#include "server/engine/token_sink.h"
#include "server/routing/plan.h"
#include "server/stats/arm_table.h"
#include "server/stats/histogram.h"
#include "server/stats/metric_names.h"

namespace olmoe::stats {

// How one request ended.
struct RequestSample {
  std::string_view arm_id;  // empty: refused before an arm was found
  std::string_view method;
  std::string_view code;    // "OK", "INVALID_ARGUMENT"
  std::optional<routing::AssignmentReason> assignment;
  const engine::Completion* completion = nullptr;  // null: the engine never had it
  double scored_logprob_sum = 0;                   // nats
};

// Counts and latencies of finished requests, per arm. Thread-safe.
class RequestStats {
 public:
  void Add(const RequestSample& sample);
  // One PatchRouters or UnpatchRouters.
  void AddSwap(std::string_view outcome, absl::Duration swap_duration);

  void AppendTo(std::vector<prometheus::MetricFamily>* families) const;

  // What a page of one's own shows of an arm; arm_id "" is that of refused requests.
  struct ArmReading {
    std::string arm_id;
    uint64_t ok_requests = 0;
    uint64_t failed_requests = 0;
    Histogram time_to_first_token{kFirstTokenBounds};
    Histogram time_per_output_token{kPerTokenBounds};
  };
  std::vector<ArmReading> Read() const;

 private:
  using MethodAndCode = std::pair<std::string, std::string>;
  struct Durations {
    Histogram total{kDurationBounds};
    Histogram queue{kDurationBounds};
  };
  struct Arm {
    std::map<MethodAndCode, uint64_t> requests;
    std::map<std::string, Durations, std::less<>> durations;  // by method
    std::array<uint64_t, 4> finished{};    // by FinishReason
    std::array<uint64_t, 5> assignments{};  // by AssignmentReason
    Histogram time_to_first_token{kFirstTokenBounds};
    Histogram time_per_output_token{kPerTokenBounds};
    Histogram prompt_tokens{kTokenCountBounds};
    Histogram completion_tokens{kTokenCountBounds};
    double score_nats = 0;  // negative log-likelihood
  };
  static void AddGeneration(const engine::Completion& completion, Arm* arm);

  mutable absl::Mutex mu_;
  ArmTable<Arm> arms_ ABSL_GUARDED_BY(mu_){kMaxArmsKept};
  std::map<std::string, uint64_t, std::less<>> swaps_ ABSL_GUARDED_BY(mu_);  // by outcome
  Histogram swap_seconds_ ABSL_GUARDED_BY(mu_){kSwapSecondsBounds};
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_REQUEST_STATS_H_
