#include "client/render/expert_stats.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One layer of four experts, `k` experts for each token.
v1::ArmExpertStats Stats(const std::string& arm, v1::Phase phase, uint32_t layer,
                         const std::vector<uint64_t>& expert_tokens, uint64_t tokens,
                         const std::vector<uint64_t>& experts_per_token) {
  v1::ArmExpertStats stats;
  stats.set_arm_id(arm);
  stats.set_policy_id("p");
  stats.set_kind(v1::DECISION_KIND_APPLIED);
  stats.set_phase(phase);
  auto* row = stats.add_layers();
  row->set_layer(layer);
  row->set_tokens(tokens);
  row->mutable_expert_tokens()->Add(expert_tokens.begin(), expert_tokens.end());
  row->mutable_experts_per_token()->Add(experts_per_token.begin(), experts_per_token.end());
  row->set_selected_mass(0.5 * static_cast<double>(tokens));
  return stats;
}

TEST(SumPhases, AddsCountsAndDerivesFromTheSums) {
  v1::GetExpertStatsResponse response;
  *response.add_arms() = Stats("a", v1::PHASE_PREFILL, 3, {3, 1, 0, 0}, 2, {0, 0, 2, 0, 0});
  *response.add_arms() = Stats("b", v1::PHASE_PREFILL, 3, {1, 1, 1, 1}, 2, {0, 0, 2, 0, 0});
  *response.add_arms() = Stats("a", v1::PHASE_DECODE, 3, {1, 1, 2, 0}, 1, {0, 0, 0, 0, 1});
  const auto sums = SumPhases(response);
  ASSERT_EQ(sums.size(), 2u);
  EXPECT_EQ(sums[0].arm_id(), "a");
  EXPECT_EQ(sums[0].phase(), v1::PHASE_UNSPECIFIED);
  EXPECT_EQ(sums[1].phase(), v1::PHASE_PREFILL);
  ASSERT_EQ(sums[0].layers_size(), 1);
  const v1::LayerExpertStats& layer = sums[0].layers(0);
  EXPECT_EQ(layer.layer(), 3u);
  EXPECT_EQ(layer.tokens(), 3u);
  EXPECT_THAT(layer.expert_tokens(), ElementsAre(4, 2, 2, 0));
  EXPECT_THAT(layer.experts_per_token(), ElementsAre(0, 0, 2, 0, 1));
  EXPECT_DOUBLE_EQ(layer.selected_mass(), 1.5);
  EXPECT_DOUBLE_EQ(layer.mean_experts_per_token(), 8.0 / 3);
  EXPECT_NEAR(layer.stddev_experts_per_token(), 0.942809, 1e-6);  // of 2, 2, 4
  EXPECT_DOUBLE_EQ(layer.load_max_over_mean(), 2);
  EXPECT_DOUBLE_EQ(layer.load_jain(), 64.0 / (4 * 24));
  EXPECT_DOUBLE_EQ(layer.load_entropy_ratio(), 0.75);  // 1/2, 1/4, 1/4: 1.5 of 2 bits
  EXPECT_EQ(layer.idle_experts(), 1u);
  EXPECT_EQ(TokensRouted(sums[0]), 3u);
  EXPECT_DOUBLE_EQ(MeanExperts(sums[0]), 8.0 / 3);
}

TEST(SumPhases, LayersAscendAndPoliciesStayApart) {
  v1::GetExpertStatsResponse response;
  *response.add_arms() = Stats("a", v1::PHASE_DECODE, 2, {1}, 1, {0, 1});
  *response.add_arms() = Stats("a", v1::PHASE_DECODE, 1, {1}, 1, {0, 1});
  auto* other = response.add_arms();
  *other = Stats("a", v1::PHASE_DECODE, 1, {1}, 1, {0, 1});
  other->set_policy_digest("another");
  const auto sums = SumPhases(response);
  ASSERT_EQ(sums.size(), 2u);
  ASSERT_EQ(sums[0].layers_size(), 2);
  EXPECT_EQ(sums[0].layers(0).layer(), 1u);
  EXPECT_EQ(sums[0].phase(), v1::PHASE_DECODE);
}

TEST(SumPhases, ALayerWithoutTokensHasNoNaN) {
  v1::GetExpertStatsResponse response;
  *response.add_arms() = Stats("a", v1::PHASE_DECODE, 0, {0, 0}, 0, {0, 0, 0});
  const auto sums = SumPhases(response);
  EXPECT_EQ(sums[0].layers(0).load_jain(), 0);
  EXPECT_EQ(sums[0].layers(0).mean_experts_per_token(), 0);
  EXPECT_EQ(MeanExperts(sums[0]), 0);
  EXPECT_THAT(RelativeLoad(sums[0].layers(0)), ElementsAre(0, 0));
}

TEST(Compare, DisjointExpertsAreAsFarApartAsCanBe) {
  const auto a = Stats("a", v1::PHASE_DECODE, 5, {4, 4, 0, 0}, 4, {});
  const auto b = Stats("b", v1::PHASE_DECODE, 5, {0, 0, 1, 1}, 1, {});
  const auto far = Compare(a, b);
  ASSERT_EQ(far.size(), 1u);
  EXPECT_EQ(far[0].layer, 5u);
  EXPECT_DOUBLE_EQ(far[0].total_variation, 1);
  EXPECT_DOUBLE_EQ(far[0].jensen_shannon_bits, 1);
  EXPECT_THAT(far[0].load_a, ElementsAre(2, 2, 0, 0));
  const auto same = Compare(a, a);
  EXPECT_DOUBLE_EQ(same[0].total_variation, 0);
  EXPECT_DOUBLE_EQ(same[0].jensen_shannon_bits, 0);
}

TEST(FindArm, TellsWhatThereIs) {
  std::vector<v1::ArmExpertStats> arms = {Stats("a", v1::PHASE_DECODE, 0, {1}, 1, {}),
                                          Stats("a", v1::PHASE_DECODE, 0, {1}, 1, {}),
                                          Stats("b", v1::PHASE_DECODE, 0, {1}, 1, {})};
  arms[1].set_policy_id("q");
  EXPECT_EQ(FindArm(arms, "b")->arm_id(), "b");
  EXPECT_EQ(FindArm(arms, "a:q")->policy_id(), "q");
  EXPECT_EQ(FindArm(arms, "a").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(FindArm(arms, "a").status().message(), HasSubstr("a:p, a:q"));
  EXPECT_EQ(FindArm(arms, "c").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(FindArm({}, "c").status().message(), HasSubstr("counted are: none"));
}

}  // namespace
}  // namespace olmoe::client::render
