#include "server/routing/rule_words.h"

#include "gtest/gtest.h"

namespace olmoe::routing {
namespace {

TEST(RuleWordsTest, EveryKindOfRuleHasWords) {
  EXPECT_EQ(DescribeRule({TopK{4}, {}}), "top 4");
  EXPECT_EQ(DescribeRule({TopP{0.75, {1, 16}}, {}}), "top-p 0.75, 1 to 16 experts");
  EXPECT_EQ(DescribeRule({MinP{0.1, {2, {}}}, {}}), "min-p 0.1, at least 2");
  EXPECT_EQ(DescribeRule({BenjaminiHochberg{0.4, {{}, 16}, {PValueKind::kLayerCdf, "wiki"}}, {}}),
            "Benjamini-Hochberg, alpha 0.4, at most 16, calibration wiki");
  EXPECT_EQ(DescribeRule({HigherCriticism{}, {}}), "higher criticism, calibration ");
  EXPECT_EQ(DescribeRule({HigherCriticism{0.5, {}, {PValueKind::kOneMinusProb, "", 0.5}},
                          WeightMode::kSumToOne}),
            "higher criticism, beta 0.5, p = 1 - probability, temperature 0.5, weights sum to 1");
  EXPECT_EQ(DescribeRule({Expression{"p > 0.3 * p1", {2, {}}, {"wiki"}}, {}}),
            "experts where p > 0.3 * p1, at least 2, calibration wiki");
  EXPECT_EQ(DescribeRule({}), "no rule");
  EXPECT_EQ(DescribeNative(8), "the model's own top 8");
}

TEST(RuleWordsTest, EveryAdjustmentHasWords) {
  Adjust adjust;
  adjust.ban = {3, 4, 5, 17};
  adjust.force = {1};
  EXPECT_EQ(DescribeRule({TopK{8}, {}, adjust}), "top 8, without 3-5, 17, always with 1");
  adjust = {};
  adjust.bias = Bias{BiasScope::kSelect, {}};
  adjust.steer = Steer{{2}, {9}, 0.5};
  adjust.noise = Noise{0.25};
  adjust.ban = {7};
  adjust.ban_mass = BanMass::kKeep;
  EXPECT_EQ(DescribeRule({TopK{8}, {}, adjust}),
            "top 8, logits biased to select, steered toward 2, steered away from 9, by 0.5, "
            "noise 0.25, without 7 (mass kept)");
}

TEST(RuleWordsTest, LayersInARowAreARange) {
  EXPECT_EQ(DescribeIds({0, 1, 2, 3, 7, 9, 10}), "0-3, 7, 9-10");
  EXPECT_EQ(DescribeIds({5}), "5");
  EXPECT_EQ(DescribeIds({}), "");
}

}  // namespace
}  // namespace olmoe::routing
