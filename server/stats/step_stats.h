#ifndef OLMOE_SERVER_STATS_STEP_STATS_H_
#define OLMOE_SERVER_STATS_STEP_STATS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "prometheus/metric_family.h"
#include "server/engine/step_observer.h"
#include "server/stats/arm_table.h"
#include "server/stats/histogram.h"
#include "server/stats/metric_names.h"

namespace olmoe::stats {

// Rows and durations of the engine's steps. Thread-safe.
class StepStats {
 public:
  // Engine thread, after every step.
  void AddStep(const std::vector<engine::StepRows>& rows, absl::Duration step_time);

  void AppendTo(std::vector<prometheus::MetricFamily>* families) const;

  // Rows computed for an arm.
  struct ArmTokens {
    std::string arm_id;
    uint64_t prefill = 0;
    uint64_t decode = 0;
    uint64_t score = 0;
  };
  std::vector<ArmTokens> Read() const;

 private:
  static constexpr size_t kNumPhases = 3;
  static constexpr size_t kMixed = kNumPhases;  // index of steps that several phases share

  struct Steps {
    Histogram seconds{kForwardSecondsBounds};
    Histogram tokens{kForwardTokensBounds};
  };

  mutable absl::Mutex mu_;
  ArmTable<std::array<uint64_t, kNumPhases>> arm_tokens_ ABSL_GUARDED_BY(mu_){kMaxArmsKept};
  std::array<Steps, kNumPhases + 1> steps_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_STEP_STATS_H_
