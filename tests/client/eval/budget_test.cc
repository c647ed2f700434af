// Plans of a budget, and the Pareto front.
#include "client/eval/budget.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "client/eval/pareto.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Every plan, one after the other: the first of the best in the order of their ks.
std::optional<BudgetPlan> SlowBestPlan(const LayerChoices& choices, uint64_t budget) {
  const size_t layers = choices.increase.size(), num_choices = choices.ks.size();
  std::optional<BudgetPlan> best;
  std::vector<size_t> plan(layers);
  while (true) {
    BudgetPlan made;
    uint64_t sum = 0;
    for (size_t layer = layers; layer-- > 0;) {
      made.ks.insert(made.ks.begin(), choices.ks[plan[layer]]);
      made.increase = choices.increase[layer][plan[layer]] + made.increase;
      sum += made.ks.front();
    }
    if (sum == budget && (!best || made.increase < best->increase)) best = made;
    size_t layer = layers;
    while (layer > 0 && ++plan[layer - 1] == num_choices) plan[--layer] = 0;
    if (layer == 0) return best;
  }
}

LayerChoices RandomChoices(std::mt19937_64* random, bool whole) {
  const std::vector<std::vector<uint32_t>> lists = {{1, 2, 3}, {1, 2, 4, 8}, {2, 5}, {3}};
  LayerChoices choices{.ks = lists[(*random)() % lists.size()], .increase = {}};
  choices.increase.resize(1 + (*random)() % 5);
  std::uniform_real_distribution<double> increase(-0.1, 1);
  for (std::vector<double>& layer : choices.increase) {
    for (size_t i = 0; i < choices.ks.size(); ++i) {
      const double value = increase(*random);
      layer.push_back(whole ? std::round(3 * value) : value);  // whole ones have many ties
    }
  }
  return choices;
}

TEST(Budget, ThePlanIsTheBestOfAllPlans) {
  std::mt19937_64 random(5);
  int feasible = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const LayerChoices choices = RandomChoices(&random, trial % 2 == 0);
    const size_t layers = choices.increase.size();
    for (uint64_t budget = 0; budget <= layers * choices.ks.back() + 1; ++budget) {
      const auto expected = SlowBestPlan(choices, budget);
      ASSERT_EQ(CheckBudget(layers, choices.ks, budget).ok(), expected.has_value()) << budget;
      if (!expected) continue;
      const BudgetPlan plan = BestPlan(choices, budget);
      EXPECT_EQ(plan.ks, expected->ks);
      EXPECT_EQ(plan.increase, expected->increase);
      ++feasible;
    }
  }
  EXPECT_GT(feasible, 1000);
}

TEST(Budget, OfEqualPlansTheFirstLayersGetFewer) {
  const LayerChoices choices{.ks = {1, 2, 3}, .increase = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}};
  EXPECT_THAT(BestPlan(choices, 6).ks, ElementsAre(1, 2, 3));
  EXPECT_THAT(BestPlan(choices, 3).ks, ElementsAre(1, 1, 1));
  EXPECT_THAT(BestPlan(choices, 9).ks, ElementsAre(3, 3, 3));
}

TEST(Budget, OneThatCannotBeHadIsRefusedWithWhatCan) {
  const auto message = [](size_t layers, const std::vector<uint32_t>& ks, uint64_t budget) {
    return std::string(CheckBudget(layers, ks, budget).message());
  };
  EXPECT_EQ(message(16, {1, 2, 8}, 15),
            "a budget of 15 cannot be had: 16 layers with 1 to 8 experts have 16 to 128");
  EXPECT_THAT(message(16, {1, 2, 8}, 129), HasSubstr("have 16 to 128"));
  EXPECT_THAT(message(2, {1}, UINT64_MAX), HasSubstr("have 2 to 2"));
  EXPECT_EQ(message(3, {1, 4}, 7), "a budget of 7 is no sum of 3 of 1, 4; the nearest are 6 and 9");
}

TEST(Front, IsWhereNoOtherPointIsAsGood) {
  const std::vector<Tradeoff> points = {
      {128, 3.55},  // on it
      {64, 3.62},   // on it
      {64, 3.70},   // costs the same, loses more
      {96, 3.62},   // loses the same, costs more
      {16, 4.76},   // on it
      {256, 3.56},  // worse in both
      {128, 3.55},  // the first again
      {16, 4.76},
  };
  EXPECT_THAT(OnFront(points), ElementsAre(true, true, false, false, true, false, true, true));
  EXPECT_TRUE(OnFront({}).empty());
}

TEST(Front, IsThatOfADefinitionWordByWord) {
  std::mt19937_64 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Tradeoff> points(1 + random() % 20);
    for (Tradeoff& point : points) {
      point = {static_cast<double>(random() % 6), static_cast<double>(random() % 6)};
    }
    const std::vector<bool> on_front = OnFront(points);
    for (size_t i = 0; i < points.size(); ++i) {
      const bool dominated =
          std::any_of(points.begin(), points.end(), [&p = points[i]](const Tradeoff& other) {
            return other.cost <= p.cost && other.loss <= p.loss &&
                   (other.cost < p.cost || other.loss < p.loss);
          });
      EXPECT_EQ(on_front[i], !dominated);
    }
  }
}

}  // namespace
}  // namespace olmoe::client::eval
