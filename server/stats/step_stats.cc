#include "server/stats/step_stats.h"

namespace olmoe::stats {

void StepStats::AddStep(const std::vector<engine::StepRows>& rows, absl::Duration step_time) {
  constexpr size_t kMixed = kNumPhases;
  if (rows.empty()) return;
  size_t phase = static_cast<size_t>(rows[0].phase);
  uint64_t tokens = 0;
  absl::MutexLock lock(&mu_);
  for (const engine::StepRows& range : rows) {
    const size_t range_phase = static_cast<size_t>(range.phase);
    if (range_phase != phase) phase = kMixed;
    tokens += static_cast<uint64_t>(range.num_rows);
    ArmSteps& arm = arms_.Get(range.assignment->arm_id).Mutable();
    arm.tokens[range_phase] += static_cast<uint64_t>(range.num_rows);
    if (range.token_interval) {
      arm.token_intervals.Add(absl::ToDoubleSeconds(*range.token_interval));
    }
  }
  steps_[phase].seconds.Add(absl::ToDoubleSeconds(step_time));
  steps_[phase].tokens.Add(static_cast<double>(tokens));
}

StepCounts StepStats::Snapshot() const {
  StepCounts out;
  absl::MutexLock lock(&mu_);
  arms_.ForEach([&out](const std::string& arm_id, const CopyOnWrite<ArmSteps>& arm) {
    out.arms.emplace(arm_id, arm.Share());
  });
  out.steps = steps_;
  return out;
}

}  // namespace olmoe::stats
