#include "client/bench/arm_units.h"

#include <cmath>

namespace olmoe::client::bench {
namespace {

void AddTo(eval::UnitSum* total, double sum, double weight) {
  total->sum += sum;
  total->weight += weight;
}

}  // namespace

void ArmUnits::Add(const Outcome& outcome) {
  if (outcome.unit >= seen_.size()) seen_.resize(outcome.unit + 1);
  if (!seen_[outcome.unit]) ++units_;
  seen_[outcome.unit] = true;
  if (!outcome.status.ok()) return;

  const size_t group = outcome.unit % kMostGroups;
  if (group >= groups_.size()) groups_.resize(group + 1);
  const auto of = [&sums = groups_[group]](Metric metric) {
    return &sums[static_cast<size_t>(metric)];
  };
  const double seconds = absl::ToDoubleSeconds(outcome.done - outcome.due);
  if (outcome.is_score) {
    AddTo(of(Metric::kScoreSeconds), seconds, 1);
    if (std::isfinite(outcome.logprob_sum)) {
      AddTo(of(Metric::kLogprob), outcome.logprob_sum, outcome.scored_tokens);
    }
    return;
  }
  AddTo(of(Metric::kGenerateSeconds), seconds, 1);
  AddTo(of(Metric::kCompletionTokens), outcome.completion_tokens, 1);
  if (!outcome.first_token) return;
  AddTo(of(Metric::kFirstTokenSeconds), absl::ToDoubleSeconds(*outcome.first_token), 1);
  for (const Outcome::Gap& gap : outcome.gaps) {
    AddTo(of(Metric::kTokenSeconds), absl::ToDoubleSeconds(gap.gap), gap.tokens);
  }
}

std::vector<eval::UnitSum> ArmUnits::Sums(Metric metric) const {
  std::vector<eval::UnitSum> sums;
  for (const auto& group : groups_) {
    const eval::UnitSum& sum = group[static_cast<size_t>(metric)];
    if (sum.weight > 0) sums.push_back(sum);
  }
  return sums;
}

}  // namespace olmoe::client::bench
