#ifndef OLMOE_SERVER_STATS_STEP_STATS_H_
#define OLMOE_SERVER_STATS_STEP_STATS_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "prometheus/metric_family.h"
#include "server/engine/step_observer.h"
#include "server/stats/arm_table.h"
#include "server/stats/copy_on_write.h"
#include "server/stats/histogram.h"
#include "server/stats/metric_names.h"
#include "server/stats/shown_arms.h"

namespace olmoe::stats {

inline constexpr size_t kNumPhases = 3;

// What was computed for one arm.
struct ArmSteps {
  std::array<uint64_t, kNumPhases> tokens{};  // by Phase
  Histogram token_intervals{kPerTokenBounds};
};

struct StepCounts {
  struct Steps {
    Histogram seconds{kForwardSecondsBounds};
    Histogram tokens{kForwardTokensBounds};
  };
  std::map<std::string, std::shared_ptr<const ArmSteps>> arms;
  // By Phase; the last: steps that several phases share.
  std::array<Steps, kNumPhases + 1> steps;
};

// Rows and durations of the engine's steps. Thread-safe: a reader takes the mutex to copy
// one pointer per arm and eight histograms.
class StepStats {
 public:
  // Engine thread, after every step.
  void AddStep(const std::vector<engine::StepRows>& rows, absl::Duration step_time);

  // Of one moment.
  StepCounts Snapshot() const;

 private:
  mutable absl::Mutex mu_;
  ArmTable<CopyOnWrite<ArmSteps>> arms_ ABSL_GUARDED_BY(mu_){kMaxArmsKept};
  std::array<StepCounts::Steps, kNumPhases + 1> steps_ ABSL_GUARDED_BY(mu_);
};

// The families about the engine's steps.
void AppendStepMetrics(const StepCounts& counts, const ShownArms& shown,
                       std::vector<prometheus::MetricFamily>* families);

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_STEP_STATS_H_
