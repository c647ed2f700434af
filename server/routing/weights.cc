#include "server/routing/weights.h"

#include "glog/logging.h"

namespace olmoe::routing {
namespace {

double Sum(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum;
}

}  // namespace

void ScaleWeights(WeightMode mode, const RouterShape& shape, double sum, LogitRow* raw,
                  std::span<float> weights) {
  switch (mode) {
    case WeightMode::kNative: return;
    case WeightMode::kSumToOne:
      for (float& weight : weights) weight = static_cast<float>(weight / sum);
      return;
    case WeightMode::kMatchTopKMass: {
      const double mass = raw->MassOfFirst(shape.default_k);
      for (float& weight : weights) weight = static_cast<float>(weight * mass / sum);
      return;
    }
    case WeightMode::kModelDefault: LOG(FATAL) << "a rule was not made by MakeLayerRule";
  }
}

void Weigh(WeightMode mode, double temperature, const RouterShape& shape,
           std::span<const uint8_t> selected, AdjustedRow* row, LogitRow* raw,
           std::span<float> weights) {
  constexpr double kLeastSum = 1e-20;  // above it the largest have all their bits
  const std::span<const float> probabilities = row->WeightsAt(temperature);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = probabilities[selected[i]];
  double sum = Sum(weights);
  if (sum < kLeastSum && mode != WeightMode::kNative) {
    row->SharesAt(temperature, selected, weights);
    sum = Sum(weights);
  }
  ScaleWeights(mode, shape, sum, raw, weights);
}

}  // namespace olmoe::routing
