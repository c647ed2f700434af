#include "server/routing/adjusted_row.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/routing/noise.h"
#include "server/routing/softmax.h"

namespace olmoe::routing {
namespace {

// softmax(values / temperature) over the experts `over`, into `out` in their order. One softmax
// for all rows: of values that are floats the bits are those of Softmax, because the difference to
// the largest, rounded to float, is the difference of floats.
void SoftmaxOver(std::span<const double> values, std::span<const uint8_t> over, double temperature,
                 std::span<float> out) {
  constexpr double kLowest = std::numeric_limits<float>::lowest();
  double largest = -std::numeric_limits<double>::infinity();
  for (const uint8_t expert : over) largest = std::max(largest, values[expert]);
  std::array<float, kMaxExperts> shifted;
  for (size_t i = 0; i < over.size(); ++i) {
    shifted[i] = static_cast<float>(std::max(values[over[i]] - largest, kLowest));
  }
  Softmax({shifted.data(), over.size()}, temperature, out);
}

}  // namespace

AdjustedRow::AdjustedRow(const LogitRow& logits, const Adjust& adjust, const RowPlace& place)
    : size_(logits.logits().size()) {
  std::copy(logits.logits().begin(), logits.logits().end(), scores_.begin());
  std::copy(logits.logits().begin(), logits.logits().end(), weight_scores_.begin());
  if (adjust.bias) AddBias(*adjust.bias);
  std::copy(scores_.begin(), scores_.begin() + size_, logit_scores_.begin());
  if (adjust.steer) Steer(*adjust.steer);
  if (adjust.noise) AddNoise(*adjust.noise, place);
  OrderCandidates(adjust);
}

void AdjustedRow::AddBias(const Bias& bias) {
  for (size_t expert = 0; expert < size_; ++expert) {
    scores_[expert] = static_cast<float>(scores_[expert]) + bias.values[expert];
  }
  if (bias.scope == BiasScope::kBoth) weight_scores_ = scores_;
}

void AdjustedRow::Steer(const olmoe::routing::Steer& steer) {
  const std::span<const double> before(logit_scores_.data(), size_);
  const double low = *std::min_element(before.begin(), before.end());
  const double high = *std::max_element(before.begin(), before.end());
  double sum = 0;
  for (const double score : before) sum += std::exp(score - high);
  const double log_sum = std::log(sum);
  const auto log_softmax = [&](double score) { return (score - high) - log_sum; };
  const double low_l = log_softmax(low), high_l = log_softmax(high);
  for (size_t expert = 0; expert < size_; ++expert) scores_[expert] = log_softmax(before[expert]);
  for (const uint32_t expert : steer.toward) {
    scores_[expert] = high_l + steer.epsilon;
    logit_scores_[expert] = high + steer.epsilon;
  }
  for (const uint32_t expert : steer.away) {
    scores_[expert] = low_l - steer.epsilon;
    logit_scores_[expert] = low - steer.epsilon;
  }
  weight_scores_ = scores_;
}

void AdjustedRow::AddNoise(const Noise& noise, const RowPlace& place) {
  Values gumbel;
  GumbelRow(place, {gumbel.data(), size_});
  for (size_t expert = 0; expert < size_; ++expert) {
    scores_[expert] += noise.tau * gumbel[expert];
    logit_scores_[expert] += noise.tau * gumbel[expert];
  }
}

void AdjustedRow::OrderCandidates(const Adjust& adjust) {
  ExpertSet banned;
  for (const uint32_t expert : adjust.ban) banned[expert] = true;
  for (size_t expert = 0; expert < size_; ++expert) {
    const uint8_t id = static_cast<uint8_t>(expert);
    if (!banned[expert]) order_[static_cast<size_t>(num_candidates_++)] = id;
    if (!banned[expert] || adjust.ban_mass == BanMass::kKeep) mass_over_[num_mass_over_++] = id;
  }
  if (!finite()) return;
  std::sort(order_.begin(), order_.begin() + num_candidates_, [this](uint8_t a, uint8_t b) {
    return scores_[a] != scores_[b] ? scores_[a] > scores_[b] : a < b;
  });
}

bool AdjustedRow::finite() const {
  return std::all_of(scores_.begin(), scores_.begin() + size_,
                     [](double score) { return std::isfinite(score); });
}

std::span<const float> AdjustedRow::SoftmaxOf(const Values& values, double temperature) {
  const std::span<const uint8_t> over(mass_over_.data(), num_mass_over_);
  std::array<float, kMaxExperts> of_those;
  SoftmaxOver({values.data(), size_}, over, temperature, {of_those.data(), over.size()});
  std::fill(softmax_.begin(), softmax_.begin() + size_, 0);
  for (size_t i = 0; i < over.size(); ++i) softmax_[over[i]] = of_those[i];
  return {softmax_.data(), size_};
}

std::span<const float> AdjustedRow::ProbabilitiesAt(double temperature) {
  return SoftmaxOf(scores_, temperature);
}

std::span<const float> AdjustedRow::WeightsAt(double temperature) {
  return SoftmaxOf(weight_scores_, temperature);
}

int AdjustedRow::CountAtLeast(double probability) {
  const std::span<const float> of = probabilities();
  const std::span<const uint8_t> candidates = Order(num_candidates_);
  return static_cast<int>(std::count_if(candidates.begin(), candidates.end(),
                                        [&](uint8_t expert) { return of[expert] >= probability; }));
}

void AdjustedRow::SharesAt(double temperature, std::span<const uint8_t> selected,
                           std::span<float> shares) {
  SoftmaxOver({weight_scores_.data(), size_}, selected, temperature, shares);
}

}  // namespace olmoe::routing
