#ifndef OLMOE_SERVER_STATS_REQUEST_STATS_H_
#define OLMOE_SERVER_STATS_REQUEST_STATS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "prometheus/metric_family.h"
#include "server/engine/request_outcome.h"
#include "server/routing/plan.h"
#include "server/stats/arm_table.h"
#include "server/stats/copy_on_write.h"
#include "server/stats/histogram.h"
#include "server/stats/metric_names.h"
#include "server/stats/shown_arms.h"

namespace olmoe::stats {

// What the finished requests of one arm were.
struct ArmRequests {
  struct Durations {
    Histogram total{kDurationBounds};
    Histogram queue{kDurationBounds};
  };
  struct Method {
    std::string name, protocol;
    auto operator<=>(const Method&) const = default;
  };
  using MethodAndCode = std::pair<Method, std::string>;

  uint64_t num_requests = 0;
  std::map<MethodAndCode, uint64_t> requests;
  std::map<Method, Durations> durations;
  std::array<uint64_t, 4> finished{};                       // by FinishReason
  std::array<uint64_t, 5> assignments{};                    // by AssignmentReason
  Histogram time_to_first_token{kFirstTokenBounds};
  Histogram time_per_output_token{kPerTokenBounds};
  Histogram prompt_tokens{kTokenCountBounds};
  Histogram completion_tokens{kTokenCountBounds};
  double score_nats = 0;  // negative log-likelihood
  uint64_t scored_tokens = 0;
  uint64_t cached_tokens = 0;
};

struct RequestCounts {
  std::map<std::string, std::shared_ptr<const ArmRequests>> arms;
  std::map<std::string, uint64_t, std::less<>> swaps;  // by outcome
  Histogram swap_seconds{kSwapSecondsBounds};
};

// Counts and latencies of finished requests, per arm. Thread-safe: a reader takes the mutex
// to copy one pointer per arm.
class RequestStats {
 public:
  void Add(const engine::RequestOutcome& outcome);
  // One PatchRouters or UnpatchRouters.
  void AddSwap(std::string_view outcome, absl::Duration swap_duration);

  // Of one moment.
  RequestCounts Snapshot() const;

 private:
  static void AddCompletion(const engine::Completion& completion, ArmRequests* arm);

  mutable absl::Mutex mu_;
  ArmTable<CopyOnWrite<ArmRequests>> arms_ ABSL_GUARDED_BY(mu_){kMaxArmsKept};
  std::map<std::string, uint64_t, std::less<>> swaps_ ABSL_GUARDED_BY(mu_);  // by outcome
  Histogram swap_seconds_ ABSL_GUARDED_BY(mu_){kSwapSecondsBounds};
};

// The families about finished requests and swaps. Requests that were refused before an arm
// was found are counted under the empty arm, which is no arm: it is always there and has no
// more than codes.
void AppendRequestMetrics(const RequestCounts& counts, const ShownArms& shown,
                          std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_REQUEST_STATS_H_
