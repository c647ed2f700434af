#include "server/stats/step_metrics.h"

#include <string>

#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

constexpr const char* kPhaseNames[] = {"prefill", "decode", "score", "mixed"};

}  // namespace

void AppendStepMetrics(const StepCounts& counts, const ShownArms& shown,
                       std::vector<prometheus::MetricFamily>* families) {
  FamilyBuilder tokens = FamilyBuilder::Counter(kTokens);
  FamilyBuilder intervals = FamilyBuilder::Histograms(kInterTokenLatency);
  FamilyBuilder step_seconds = FamilyBuilder::Histograms(kForwardSeconds);
  FamilyBuilder step_tokens = FamilyBuilder::Histograms(kForwardTokens);
  const ArmSteps nothing;
  for (const auto& [arm_id, how] : shown) {
    const auto found = counts.arms.find(arm_id);
    const ArmSteps& arm = found == counts.arms.end() ? nothing : *found->second;
    for (size_t phase = 0; phase < kNumPhases; ++phase) {
      tokens.Add({{"arm", arm_id}, {"phase", kPhaseNames[phase]}},
                 static_cast<double>(arm.tokens[phase]));
    }
    intervals.Add({{"arm", arm_id}}, arm.token_intervals);
  }
  for (size_t phase = 0; phase < counts.steps.size(); ++phase) {
    step_seconds.Add({{"phase", kPhaseNames[phase]}}, counts.steps[phase].seconds);
    step_tokens.Add({{"phase", kPhaseNames[phase]}}, counts.steps[phase].tokens);
  }
  for (FamilyBuilder* family : {&tokens, &intervals, &step_seconds, &step_tokens}) {
    family->AppendTo(families);
  }
}

}  // namespace olmoe::stats
