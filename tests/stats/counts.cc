#include "tests/stats/counts.h"

#include <numeric>

#include "gtest/gtest.h"

namespace olmoe::stats {
namespace {

uint64_t Sum(const std::vector<uint64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

}  // namespace

uint64_t Selections(const LayerCounts& layer) { return Sum(layer.expert_tokens); }

void ExpectEqualities(const std::vector<ExpertCounts>& snapshot) {
  for (const ExpertCounts& counts : snapshot) {
    for (const LayerCounts& layer : counts.layers) {
      uint64_t selections = 0;
      for (size_t k = 0; k < layer.experts_per_token.size(); ++k) {
        selections += k * layer.experts_per_token[k];
      }
      EXPECT_EQ(Selections(layer), selections);
      EXPECT_EQ(Sum(layer.experts_per_token), layer.tokens);
      EXPECT_EQ(layer.tokens, counts.layers[0].tokens);
    }
  }
}

void AddTo(const std::vector<ExpertCounts>& counts, ArmTotals* totals) {
  for (const ExpertCounts& part : counts) {
    std::vector<LayerCounts>& layers = (*totals)[{part.arm_id, part.kind}];
    layers.resize(part.layers.size());
    for (size_t layer = 0; layer < layers.size(); ++layer) layers[layer] += part.layers[layer];
  }
}

ArmTotals TotalsOf(const std::vector<ExpertCounts>& counts) {
  ArmTotals totals;
  AddTo(counts, &totals);
  return totals;
}

void ExpectSameTotals(const ArmTotals& a, const ArmTotals& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [key, layers] : a) {
    ASSERT_TRUE(b.contains(key)) << key.first;
    for (size_t i = 0; i < layers.size(); ++i) {
      LayerCounts x = layers[i], y = b.at(key)[i];
      EXPECT_NEAR(x.selected_mass, y.selected_mass, 1e-9 * (1 + y.selected_mass));
      EXPECT_NEAR(x.router_entropy, y.router_entropy, 1e-9 * (1 + y.router_entropy));
      x.selected_mass = y.selected_mass = x.router_entropy = y.router_entropy = 0;
      EXPECT_TRUE(x == y) << key.first << " layer " << i;
    }
  }
}

}  // namespace olmoe::stats
