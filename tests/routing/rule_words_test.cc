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
  EXPECT_EQ(DescribeRule({}), "no rule");
  EXPECT_EQ(DescribeNative(8), "the model's own top 8");
}

TEST(RuleWordsTest, LayersInARowAreARange) {
  EXPECT_EQ(DescribeLayers({0, 1, 2, 3, 7, 9, 10}), "0-3, 7, 9-10");
  EXPECT_EQ(DescribeLayers({5}), "5");
  EXPECT_EQ(DescribeLayers({}), "");
}

}  // namespace
}  // namespace olmoe::routing
