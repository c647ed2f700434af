#include "server/stats/derived.h"

#include <cmath>

#include "gtest/gtest.h"

namespace olmoe::stats {
namespace {

LayerCounts Counts(std::vector<uint64_t> expert_tokens, std::vector<uint64_t> experts_per_token) {
  LayerCounts counts(static_cast<int>(expert_tokens.size()));
  counts.expert_tokens = std::move(expert_tokens);
  counts.experts_per_token = std::move(experts_per_token);
  for (const uint64_t tokens : counts.experts_per_token) counts.tokens += tokens;
  return counts;
}

TEST(DerivedTest, MeanAndDeviationWeighEveryTokenOnce) {
  // 90 tokens with 1 expert and 10 with 4: not the 2.5 of an average over values of k.
  const DerivedStats derived = Derive(Counts({100, 10, 10, 10}, {0, 90, 0, 0, 10}));
  EXPECT_DOUBLE_EQ(derived.mean_experts_per_token, 1.3);
  EXPECT_DOUBLE_EQ(derived.stddev_experts_per_token, std::sqrt(0.9 * 0.09 + 0.1 * 7.29));
}

TEST(DerivedTest, AConstantKHasNoDeviationHoweverManyTokens) {
  std::vector<uint64_t> experts_per_token(65, 0);
  experts_per_token[8] = 3'000'000'000'000'007;
  const DerivedStats derived =
      Derive(Counts(std::vector<uint64_t>(64, 375'000'000'000'001), experts_per_token));
  EXPECT_EQ(derived.mean_experts_per_token, 8);
  EXPECT_EQ(derived.stddev_experts_per_token, 0);
}

TEST(DerivedTest, AnEvenLoadIsOneByEveryMeasure) {
  const DerivedStats derived = Derive(Counts({7, 7, 7, 7}, {0, 28, 0, 0, 0}));
  EXPECT_DOUBLE_EQ(derived.load_max_over_mean, 1);
  EXPECT_DOUBLE_EQ(derived.load_jain, 1);
  EXPECT_DOUBLE_EQ(derived.load_entropy_ratio, 1);
  EXPECT_EQ(derived.idle_experts, 0u);
}

TEST(DerivedTest, OneBusyExpertIsTheOtherEnd) {
  const DerivedStats derived = Derive(Counts({0, 9, 0, 0}, {0, 9, 0, 0, 0}));
  EXPECT_DOUBLE_EQ(derived.load_max_over_mean, 4);
  EXPECT_DOUBLE_EQ(derived.load_jain, 0.25);
  EXPECT_DOUBLE_EQ(derived.load_entropy_ratio, 0);
  EXPECT_EQ(derived.idle_experts, 3u);
}

TEST(DerivedTest, AnUnevenLoadHasTheValuesOfTheFormulas) {
  const DerivedStats derived = Derive(Counts({1, 3, 0, 4}, {0, 4, 2, 0, 0}));
  EXPECT_DOUBLE_EQ(derived.load_max_over_mean, 2);
  EXPECT_DOUBLE_EQ(derived.load_jain, 64.0 / (4 * 26));
  const double entropy = -(0.125 * std::log(0.125) + 0.375 * std::log(0.375) + 0.5 * std::log(0.5));
  EXPECT_DOUBLE_EQ(derived.load_entropy_ratio, entropy / std::log(4));
  EXPECT_EQ(derived.idle_experts, 1u);
}

TEST(DerivedTest, WithoutATokenThereIsNothingButIdleExperts) {
  const DerivedStats derived = Derive(LayerCounts(8));
  EXPECT_EQ(derived.mean_experts_per_token, 0);
  EXPECT_EQ(derived.stddev_experts_per_token, 0);
  EXPECT_EQ(derived.load_max_over_mean, 0);
  EXPECT_EQ(derived.load_jain, 0);
  EXPECT_EQ(derived.load_entropy_ratio, 0);
  EXPECT_EQ(derived.idle_experts, 8u);
}

TEST(DerivedTest, ASingleExpertIsBalanced) {
  const DerivedStats derived = Derive(Counts({5}, {0, 5}));
  EXPECT_EQ(derived.load_max_over_mean, 1);
  EXPECT_EQ(derived.load_jain, 1);
  EXPECT_EQ(derived.load_entropy_ratio, 1);
}

}  // namespace
}  // namespace olmoe::stats
