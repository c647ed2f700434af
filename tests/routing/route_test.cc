#include "server/routing/route.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/calibration.h"
#include "server/routing/count.h"
#include "server/routing/logit_row.h"
#include "server/routing/softmax.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;

constexpr RouterShape kOlmoe{16, 64, 8, false};

LayerRule TopKRule(uint32_t k, const RouterShape& shape = kOlmoe,
                   WeightMode mode = WeightMode::kModelDefault) {
  return MakeLayerRule({TopK{k}, mode}, shape, nullptr);
}

std::vector<float> RandomRow(int size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(-1, 1.5f);
  std::vector<float> row;
  for (int i = 0; i < size; ++i) row.push_back(normal(random));
  return row;
}

RowRouting Routed(const std::vector<float>& logits, const RouterShape& shape,
                  const LayerRule& apply, const LayerRule* analyze = nullptr) {
  RowRouting routing;
  EXPECT_EQ(RouteRow(logits, shape, apply, analyze, {}, &routing), RouteError::kNone);
  return routing;
}

std::vector<int> Experts(const RowRouting& routing) {
  return {routing.experts.begin(), routing.experts.begin() + routing.applied.k};
}

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }

// ---------------------------------------------------------------- order

TEST(RouteTest, OrderIsLogitDescendingThenIdAscending) {
  const RouterShape shape{1, 5, 2, false};
  EXPECT_THAT(Experts(Routed({1, 3, 2, 3, 1}, shape, TopKRule(5, shape))),
              ElementsAre(1, 3, 2, 0, 4));
}

TEST(RouteTest, ZerosOfBothSignsAreEqualAndDenormalsAreNot) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const RouterShape shape{1, 5, 2, false};
  EXPECT_THAT(Experts(Routed({-0.0f, 0.0f, tiny, -tiny, -0.0f}, shape, TopKRule(5, shape))),
              ElementsAre(2, 0, 1, 4, 3));
}

TEST(RouteTest, OrderExtendedStepByStepEqualsOrderAtOnce) {
  for (const int size : {1, 7, 8, 9, 64, 65, 127, 128}) {
    const std::vector<float> logits = RandomRow(size, 7);
    LogitRow at_once(logits), stepwise(logits);
    const auto expected = at_once.Order(size);
    for (int count = 1; count <= size; ++count) {
      ASSERT_EQ(stepwise.Order(count).back(), expected[count - 1]) << size;
      ASSERT_EQ(stepwise.Rank(expected[count - 1]), count) << size;
    }
  }
}

// ---------------------------------------------------------------- identities

TEST(RouteTest, SumToOneOfAllExpertsIsTheDenseMixture) {
  const std::vector<float> logits = RandomRow(64, 1);
  const RowRouting native = Routed(logits, kOlmoe, TopKRule(64));
  const RowRouting summed = Routed(logits, kOlmoe, TopKRule(64, kOlmoe, WeightMode::kSumToOne));
  std::vector<float> softmax(64);
  Softmax(logits, 1, softmax);
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(Bits(native.weights[i]), Bits(softmax[native.experts[i]]));
    EXPECT_NEAR(summed.weights[i], native.weights[i], 1e-6 * native.weights[i]);
  }
}

TEST(RouteTest, ModelDefaultFollowsNormTopkProb) {
  RouterShape normed = kOlmoe;
  normed.norm_topk_prob = true;
  const std::vector<float> logits = RandomRow(64, 2);
  const RowRouting native = Routed(logits, kOlmoe, TopKRule(8));
  const RowRouting summed = Routed(logits, normed, TopKRule(8, normed));
  float sum_native = 0, sum = 0;
  for (int i = 0; i < 8; ++i) {
    sum_native += native.weights[i];
    sum += summed.weights[i];
  }
  EXPECT_LT(sum_native, 0.99f);
  EXPECT_NEAR(sum_native, native.applied.selected_mass, 1e-6);
  EXPECT_NEAR(sum, 1, 1e-6);
}

TEST(RouteTest, MatchTopKMassKeepsTheMassOfTheModelsTopK) {
  const std::vector<float> logits = RandomRow(64, 3);
  const RowRouting native = Routed(logits, kOlmoe, TopKRule(8));
  for (const uint32_t k : {1u, 4u, 8u, 64u}) {
    const RowRouting matched =
        Routed(logits, kOlmoe, TopKRule(k, kOlmoe, WeightMode::kMatchTopKMass));
    float sum = 0;
    for (uint32_t i = 0; i < k; ++i) sum += matched.weights[i];
    EXPECT_NEAR(sum, native.applied.selected_mass, 1e-6) << k;
  }
}

TEST(RouteTest, ARowGivesTheSameBitsWhateverRoutedBefore) {
  const std::vector<float> logits = RandomRow(64, 4);
  const RowRouting first = Routed(logits, kOlmoe, TopKRule(8));
  RowRouting reused = Routed(RandomRow(64, 5), kOlmoe, TopKRule(64));
  ASSERT_EQ(RouteRow(logits, kOlmoe, TopKRule(8), nullptr, {}, &reused), RouteError::kNone);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(reused.experts[i], first.experts[i]);
    EXPECT_EQ(Bits(reused.weights[i]), Bits(first.weights[i]));
  }
  EXPECT_EQ(Bits(reused.router_entropy), Bits(first.router_entropy));
  EXPECT_FALSE(reused.analyzed.has_value());
}

TEST(RouteTest, WeightOfTheOnlyExpertIsOne) {
  const RouterShape shape{1, 1, 1, false};
  for (const float logit : {-3e38f, -0.0f, 1e-45f, 3e38f}) {
    const RowRouting routing = Routed({logit}, shape, TopKRule(1, shape));
    EXPECT_EQ(routing.weights[0], 1);
    EXPECT_EQ(routing.applied.selected_mass, 1);
    EXPECT_EQ(routing.router_entropy, 0);
  }
}

// ---------------------------------------------------------------- softmax

TEST(SoftmaxTest, IsWithinAnUlpOrTwoOfTheTrueValueDownToDenormals) {
  for (float gap = 0; gap < 103; gap += 0.037f) {
    std::vector<float> q(2);
    Softmax(std::vector<float>{0, -gap}, 1, q);
    const double expected = std::exp(-double{gap}) / (1 + std::exp(-double{gap}));
    EXPECT_NEAR(q[1], expected, 4e-7 * expected + 1.5e-45) << gap;
  }
}

TEST(SoftmaxTest, HasNoFlushToZero) {
  std::vector<float> q(2);
  Softmax(std::vector<float>{0, -95}, 1, q);
  EXPECT_EQ(std::fpclassify(q[1]), FP_SUBNORMAL);
}

TEST(SoftmaxTest, ExtremeTemperaturesStayFinite) {
  const std::vector<float> logits = {3e38f, -3e38f, 3e38f};
  for (const double temperature : {1e-300, 1e-3, 1e3, 1e300}) {
    std::vector<float> q(3);
    const float entropy = Softmax(logits, temperature, q);
    EXPECT_TRUE(std::isfinite(entropy));
    EXPECT_NEAR(q[0] + q[1] + q[2], 1, 1e-6);
    EXPECT_EQ(Bits(q[0]), Bits(q[2]));
  }
}

TEST(SoftmaxTest, EntropyOfEqualLogitsIsTheLogOfTheirNumber) {
  std::vector<float> q(64);
  EXPECT_NEAR(Softmax(std::vector<float>(64, -7.25f), 1, q), std::log(64.0), 1e-6);
}

// ---------------------------------------------------------------- counts

TEST(CountTest, BenjaminiHochbergTakesTheLastPassingRank) {
  EXPECT_EQ(BenjaminiHochbergCount(std::vector<double>{.03, .04, .04, .045}, 4, .05), 4);
  EXPECT_EQ(BenjaminiHochbergCount(std::vector<double>{.01, .03, .04, .06}, 4, .05), 1);
  EXPECT_EQ(BenjaminiHochbergCount(std::vector<double>{.02, .03, .04, .06}, 4, .05), 0);
  EXPECT_EQ(BenjaminiHochbergCount(std::vector<double>{}, 4, .05), 0);
}

TEST(CountTest, BenjaminiHochbergAtEqualityPassesAndOneDoubleAboveDoesNot) {
  const double p = 2.0 / 64;
  EXPECT_EQ(BenjaminiHochbergCount(std::vector<double>{1, p}, 64, 1), 2);
  EXPECT_EQ(BenjaminiHochbergCount(std::vector<double>{1, std::nextafter(p, 1)}, 64, 1), 0);
}

TEST(CountTest, HigherCriticismTakesTheFirstMaximum) {
  const std::vector<double> p = {.01, .02, .6, .9};
  EXPECT_EQ(HigherCriticismCount(p, 4, 1, 4, true), 2);
  EXPECT_EQ(HigherCriticismCount(p, 4, 3, 4, true), 4);
  EXPECT_EQ(HigherCriticismCount(p, 4, 1, 1, false), 1);
  const std::vector<double> on_the_line = {.25, .5, .75, 1};
  EXPECT_EQ(HigherCriticismCount(on_the_line, 4, 1, 4, false), 1) << "all 0: the first";
  EXPECT_EQ(HigherCriticismCount(on_the_line, 4, 1, 4, true), 0) << "no candidate";
  EXPECT_EQ(HigherCriticismCount(p, 4, 3, 2, false), 0) << "no candidate";
}

// ONE_MINUS_PROB: rank k passes only if prob_(k) >= 1 - k alpha/E, but prob_(k) <= 1/k.
TEST(CountTest, OneMinusProbGivesMinKBelowAlphaOfAllButOneShare) {
  BenjaminiHochberg bh;
  bh.p_values.kind = PValueKind::kOneMinusProb;
  bh.alpha = 0.98;
  bh.bounds.min_k = 3;
  const LayerRule rule = MakeLayerRule({bh, WeightMode::kNative}, kOlmoe, nullptr);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<float> logits = RandomRow(64, seed);
    for (float& z : logits) z *= static_cast<float>(seed % 20) / 20;
    EXPECT_EQ(Routed(logits, kOlmoe, rule).applied.k, 3);
  }
}

// ---------------------------------------------------------------- errors

TEST(RouteTest, NonFiniteLogitsAreAnErrorForEveryRule) {
  BenjaminiHochberg bh;
  bh.alpha = 0.1;
  const LayerRule without_table = MakeLayerRule({bh, WeightMode::kNative}, kOlmoe, nullptr);
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    for (const int where : {0, 31, 63}) {
      std::vector<float> logits = RandomRow(64, 6);
      logits[where] = bad;
      RowRouting routing;
      EXPECT_EQ(RouteRow(logits, kOlmoe, TopKRule(8), nullptr, {}, &routing),
                RouteError::kNonFiniteLogit);
      EXPECT_EQ(RouteRow(logits, kOlmoe, without_table, nullptr, {}, &routing),
                RouteError::kNonFiniteLogit);
    }
  }
  std::vector<float> largest(64, std::numeric_limits<float>::max());
  largest[5] = -std::numeric_limits<float>::max();
  EXPECT_EQ(Routed(largest, kOlmoe, TopKRule(8)).weights[0], 1 / 63.f);
}

TEST(RouteTest, MissingTableIsAnErrorAlsoOfTheAnalyzedRule) {
  BenjaminiHochberg bh;
  bh.alpha = 0.1;
  const LayerRule rule = MakeLayerRule({bh, WeightMode::kNative}, kOlmoe, nullptr);
  const LayerRule native = TopKRule(8);
  const std::vector<float> logits = RandomRow(64, 6);
  RowRouting routing;
  EXPECT_EQ(RouteRow(logits, kOlmoe, rule, nullptr, {}, &routing), RouteError::kNoTable);
  EXPECT_EQ(RouteRow(logits, kOlmoe, native, &rule, {}, &routing), RouteError::kNoTable);
}

}  // namespace
}  // namespace olmoe::routing
