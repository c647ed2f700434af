#include "server/http/policy_words.h"

#include "gtest/gtest.h"

namespace olmoe::http {
namespace {

using routing::PValueKind;
using routing::Rule;
using routing::WeightMode;

TEST(PolicyWordsTest, EveryKindOfRuleHasWords) {
  EXPECT_EQ(RuleWords({routing::TopK{4}, {}}), "top 4");
  EXPECT_EQ(RuleWords({routing::TopP{0.75, {1, 16}}, {}}), "top-p 0.75, 1 to 16 experts");
  EXPECT_EQ(RuleWords({routing::MinP{0.1, {2, {}}}, {}}), "min-p 0.1, at least 2");
  EXPECT_EQ(RuleWords({routing::BenjaminiHochberg{0.4, {{}, 16}, {PValueKind::kLayerCdf, "wiki"}},
                       {}}),
            "Benjamini-Hochberg, alpha 0.4, at most 16, calibration wiki");
  EXPECT_EQ(RuleWords({routing::HigherCriticism{}, {}}), "higher criticism, calibration ");
  EXPECT_EQ(RuleWords({routing::HigherCriticism{0.5, {}, {PValueKind::kOneMinusProb, "", 0.5}},
                       WeightMode::kSumToOne}),
            "higher criticism, beta 0.5, p = 1 - probability, temperature 0.5, weights sum to 1");
  EXPECT_EQ(RuleWords({}), "no rule");
  EXPECT_EQ(NativeWords(8), "the model's own top 8");
}

TEST(PolicyWordsTest, LayersInARowAreARange) {
  EXPECT_EQ(LayerWords({0, 1, 2, 3, 7, 9, 10}), "0-3, 7, 9-10");
  EXPECT_EQ(LayerWords({5}), "5");
  EXPECT_EQ(LayerWords({}), "");
}

}  // namespace
}  // namespace olmoe::http
