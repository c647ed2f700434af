#include "server/stats/step_stats.h"

#include <string>

#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

constexpr const char* kPhaseNames[] = {"prefill", "decode", "score", "mixed"};

}  // namespace

void StepStats::AddStep(const std::vector<engine::StepRows>& rows, absl::Duration step_time) {
  if (rows.empty()) return;
  size_t phase = static_cast<size_t>(rows[0].phase);
  uint64_t tokens = 0;
  absl::MutexLock lock(&mu_);
  for (const engine::StepRows& range : rows) {
    const size_t range_phase = static_cast<size_t>(range.phase);
    if (range_phase != phase) phase = kMixed;
    tokens += static_cast<uint64_t>(range.num_rows);
    arm_tokens_.Get(range.assignment->arm_id)[range_phase] +=
        static_cast<uint64_t>(range.num_rows);
  }
  steps_[phase].seconds.Add(absl::ToDoubleSeconds(step_time));
  steps_[phase].tokens.Add(static_cast<double>(tokens));
}

void StepStats::AppendTo(std::vector<prometheus::MetricFamily>* families) const {
  FamilyBuilder tokens = FamilyBuilder::Counter(kTokens);
  FamilyBuilder step_seconds = FamilyBuilder::Histograms(kForwardSeconds);
  FamilyBuilder step_tokens = FamilyBuilder::Histograms(kForwardTokens);
  {
    absl::MutexLock lock(&mu_);
    arm_tokens_.ForEach([&](const std::string& arm, const auto& by_phase) {
      for (size_t phase = 0; phase < kNumPhases; ++phase) {
        tokens.Add({{"arm", arm}, {"phase", kPhaseNames[phase]}},
                   static_cast<double>(by_phase[phase]));
      }
    });
    for (size_t phase = 0; phase < steps_.size(); ++phase) {
      step_seconds.Add({{"phase", kPhaseNames[phase]}}, steps_[phase].seconds);
      step_tokens.Add({{"phase", kPhaseNames[phase]}}, steps_[phase].tokens);
    }
  }
  for (FamilyBuilder* family : {&tokens, &step_seconds, &step_tokens}) family->AppendTo(families);
}

std::vector<StepStats::ArmTokens> StepStats::Read() const {
  std::vector<ArmTokens> out;
  absl::MutexLock lock(&mu_);
  arm_tokens_.ForEach([&out](const std::string& arm, const auto& by_phase) {
    const auto tokens = [&](engine::Phase phase) { return by_phase[static_cast<size_t>(phase)]; };
    out.push_back({arm, tokens(engine::Phase::kPrefill), tokens(engine::Phase::kDecode),
                   tokens(engine::Phase::kScore)});
  });
  return out;
}

}  // namespace olmoe::stats
