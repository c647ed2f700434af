#include "client/compare/expert_differences.h"

#include "client/compare/steering.h"
#include "client/notation/policy_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::compare {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `layers`: the tokens that ran each expert, of 1,000 in each layer.
v1::ArmExpertStats Stats(const std::vector<std::vector<uint64_t>>& layers) {
  v1::ArmExpertStats stats;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    v1::LayerExpertStats* row = stats.add_layers();
    row->set_layer(static_cast<uint32_t>(layer));
    row->set_tokens(1000);
    row->mutable_expert_tokens()->Add(layers[layer].begin(), layers[layer].end());
  }
  return stats;
}

TEST(CompareExperts, MarksWhatChangesMoreThanChance) {
  const auto experts =
      CompareExperts(Stats({{500, 500}, {100, 900}}), Stats({{505, 495}, {200, 800}}), 0.05);
  ASSERT_TRUE(experts.ok());
  ASSERT_EQ(experts->size(), 4u);
  const ExpertDifference& same = (*experts)[0];
  EXPECT_FALSE(same.significant);
  EXPECT_NEAR(same.test.p, 0.8231, 5e-5);  // z = 0.005 / sqrt(2 * 0.5025 * 0.4975 / 1000)
  const ExpertDifference& moved = (*experts)[2];
  EXPECT_EQ(moved.layer, 1u);
  EXPECT_EQ(moved.expert, 0u);
  EXPECT_TRUE(moved.significant);
  EXPECT_DOUBLE_EQ(moved.Change(), 0.1);
  EXPECT_NEAR(moved.q, 2 * moved.test.p, 1e-12);  // the smallest two of four are equal
}

TEST(CompareExperts, CorrectsForAllExpertsTogether) {
  // p = 0.025 for one of eight: no discovery at 0.05.
  const v1::ArmExpertStats from = Stats({{500, 500, 500, 500}, {500, 500, 500, 500}});
  const auto experts =
      CompareExperts(from, Stats({{550, 500, 500, 500}, {500, 500, 500, 500}}), 0.05);
  EXPECT_NEAR(experts->front().test.p, 0.0251, 1e-4);
  EXPECT_NEAR(experts->front().q, 8 * experts->front().test.p, 1e-12);
  EXPECT_FALSE(experts->front().significant);
  EXPECT_TRUE(CompareExperts(from, from, 1)->front().significant);  // all, at a rate of 1
}

TEST(CompareExperts, RefusesWhatCannotBeCompared) {
  const auto message = [](const v1::ArmExpertStats& from, const v1::ArmExpertStats& to) {
    return std::string(CompareExperts(from, to, 0.05).status().message());
  };
  EXPECT_THAT(message(Stats({{1, 2}}), Stats({{1}})), HasSubstr("layer 0: 2 and 1 experts"));
  EXPECT_THAT(message(Stats({{1001}}), Stats({{1}})), HasSubstr("expert 0 ran for 1001 tokens"));
  EXPECT_THAT(message(Stats({{1}}), Stats({{1001}})), HasSubstr("more than the 1000"));
  EXPECT_THAT(message(Stats({{1}}), Stats({})), HasSubstr("no layer"));
  v1::ArmExpertStats large = Stats({{1}});
  large.mutable_layers(0)->set_tokens(UINT64_MAX);
  EXPECT_THAT(message(large, large), HasSubstr("more than 2^53"));
}

std::vector<std::pair<uint32_t, uint32_t>> Places(const std::vector<ExpertDifference>& experts) {
  std::vector<std::pair<uint32_t, uint32_t>> places;
  for (const ExpertDifference& one : experts) places.emplace_back(one.layer, one.expert);
  return places;
}

TEST(ChooseSteering, TakesTheLargestChangesOfAllLayersTogether) {
  const auto experts = CompareExperts(Stats({{100, 100, 100, 100}, {100, 100, 100, 100}}),
                                      Stats({{100, 130, 90, 150}, {20, 110, 100, 100}}), 0.05);
  const SteerSets two = ChooseSteering(*experts, 2);
  EXPECT_THAT(Places(two.toward), ElementsAre(std::pair(0, 3), std::pair(0, 1)));
  EXPECT_THAT(Places(two.away), ElementsAre(std::pair(1, 0), std::pair(0, 2)));
  const SteerSets all = ChooseSteering(*experts, 99);  // no more than do rise or fall
  EXPECT_EQ(all.toward.size(), 3u);
  EXPECT_EQ(all.away.size(), 2u);
  EXPECT_TRUE(ChooseSteering(*CompareExperts(Stats({{1}}), Stats({{1}}), 0.05), 5).empty());
}

TEST(SteerPolicy, IsAPolicyThatTheNotationSaysBack) {
  const auto experts = CompareExperts(Stats({{100, 100, 100, 100}, {100, 100, 100, 100}}),
                                      Stats({{100, 130, 90, 150}, {20, 110, 100, 100}}), 0.05);
  const v1::RoutingPolicy policy = SteerPolicy(ChooseSteering(*experts, 2), 3);
  EXPECT_EQ(policy.policy_id(), "steer-4");
  const std::string spec = notation::FormatPolicySpec(policy);
  EXPECT_EQ(spec, "top-k=3,toward=1+3,away=2,layers=0/top-k=3,away=0,layers=1");
  const auto parsed = notation::ParsePolicySpec("steer-4@" + spec);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(notation::FormatPolicySpec(*parsed), spec);  // defaults are said, or left unset
}

}  // namespace
}  // namespace olmoe::client::compare
