#include "server/stats/step_stats.h"

#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

constexpr const char* kPhaseNames[] = {"prefill", "decode", "score", "mixed"};

}  // namespace

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
  out.arms = ShareAll(arms_);
  out.steps = steps_;
  return out;
}

void AppendStepMetrics(const StepCounts& counts, const ShownArms& shown,
                       std::vector<prometheus::MetricFamily>* families) {
  FamilySet out = {&kTokens, &kInterTokenLatency, &kForwardSeconds, &kForwardTokens};
  const ArmSteps nothing;
  for (const auto& [arm_id, how] : shown) {
    const auto found = counts.arms.find(arm_id);
    const ArmSteps& arm = found == counts.arms.end() ? nothing : *found->second;
    for (size_t phase = 0; phase < kNumPhases; ++phase) {
      out.Add(kTokens, {{"arm", arm_id}, {"phase", kPhaseNames[phase]}},
              static_cast<double>(arm.tokens[phase]));
    }
    out.Add(kInterTokenLatency, {{"arm", arm_id}}, arm.token_intervals);
  }
  for (size_t phase = 0; phase < counts.steps.size(); ++phase) {
    out.Add(kForwardSeconds, {{"phase", kPhaseNames[phase]}}, counts.steps[phase].seconds);
    out.Add(kForwardTokens, {{"phase", kPhaseNames[phase]}}, counts.steps[phase].tokens);
  }
  out.AppendTo(families);
}

}  // namespace olmoe::stats
