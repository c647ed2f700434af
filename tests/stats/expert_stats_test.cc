#include "server/stats/expert_stats.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/stats/counts.h"

namespace olmoe::stats {
namespace {

using ::testing::ElementsAre;

constexpr int kLayers = 3, kExperts = 8;
constexpr routing::RouterShape kShape = {kLayers, kExperts, 2, false};

routing::Assignment Arm(const std::string& arm_id, routing::PolicySpec spec) {
  auto policy = routing::RoutingPolicy::Create(std::move(spec), kShape, nullptr, "policy");
  EXPECT_TRUE(policy.ok()) << policy.status();
  return {arm_id, *policy, routing::AssignmentReason::kDefault};
}

routing::PolicySpec TopK(uint32_t k) {
  routing::PolicySpec spec;
  spec.policy_id = absl::StrCat("top-", k);
  spec.apply = routing::Rule{routing::TopK{k}, {}};
  return spec;
}

routing::PolicySpec TopPAnalyzed() {
  routing::PolicySpec spec = TopK(2);
  spec.policy_id = "analyzing";
  spec.analyze = routing::Rule{routing::TopP{0.6, {1, 5}}, {}};
  return spec;
}

// Rows of one step, routed by the policies of their ranges.
struct Step {
  std::vector<engine::StepRows> rows;
  routing::RoutingRecord record;
};

struct Range {
  const routing::Assignment* assignment;
  engine::Phase phase;
  int num_rows;
};

Step RandomStep(const std::vector<Range>& ranges, std::mt19937* random) {
  Step step;
  int num_rows = 0;
  for (const Range& range : ranges) {
    step.rows.push_back({range.assignment, range.phase, num_rows, range.num_rows});
    num_rows += range.num_rows;
  }
  step.record.Reset(kLayers, num_rows);
  std::normal_distribution<float> logit(0, 2);
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const Range& range : ranges) {
      for (int row = 0; row < range.num_rows; ++row) {
        std::vector<float> logits(kExperts);
        for (float& value : logits) value = logit(*random);
        routing::RowRouting routed;
        EXPECT_EQ(range.assignment->policy->Route({.layer = layer}, logits, &routed),
                  routing::RouteError::kNone);
        step.record.Add(routed);
      }
    }
  }
  return step;
}

TEST(ExpertStatsTest, SelectionsEqualTheDistributionOfKAndLayersHaveTheSameTokens) {
  ExpertStats stats(kLayers, kExperts);
  const routing::Assignment plain = Arm("a", TopK(3)), analyzing = Arm("b", TopPAnalyzed());
  std::mt19937 random(1);
  for (int i = 0; i < 50; ++i) {
    const Step step = RandomStep({{&plain, engine::Phase::kPrefill, 7},
                                  {&analyzing, engine::Phase::kDecode, 1},
                                  {&analyzing, engine::Phase::kScore, 5}},
                                 &random);
    stats.AddStep(step.rows, step.record);
  }
  const std::vector<ExpertCounts> snapshot = stats.Snapshot();
  ExpectEqualities(snapshot);
  ASSERT_EQ(snapshot.size(), 5u);  // a: prefill; b: decode and score, applied and analyzed
  EXPECT_EQ(snapshot[0].arm_id, "a");
  EXPECT_EQ(snapshot[0].policy_id, "top-3");
  EXPECT_EQ(snapshot[0].layers[0].tokens, 350u);
  EXPECT_EQ(snapshot[0].layers[2].experts_per_token[3], 350u);
  EXPECT_EQ(snapshot[1].kind, DecisionKind::kApplied);
  EXPECT_EQ(snapshot[1].phase, engine::Phase::kDecode);
  EXPECT_EQ(snapshot[1].layers[0].tokens, 50u);
  EXPECT_EQ(snapshot[4].kind, DecisionKind::kAnalyzed);
  EXPECT_EQ(snapshot[4].layers[0].tokens, 250u);
}

// The selections of the two decisions are sets of which none is a part of the other.
TEST(ExpertStatsTest, ABannedExpertStaysAtZeroAndAllEqualitiesHoldForSets) {
  routing::PolicySpec spec;
  spec.policy_id = "sets";
  spec.apply = routing::Rule{routing::TopP{0.5, {1, 6}}, {}};
  spec.apply->adjust.noise = routing::Noise{0.5};
  spec.apply->adjust.ban = {2};
  spec.apply->adjust.force = {7, 1};
  spec.analyze = routing::Rule{routing::Expression{"expert < 3 || p > 0.3"}, {}};
  const routing::Assignment arm = Arm("a", spec);
  ExpertStats stats(kLayers, kExperts);
  std::mt19937 random(3);
  for (int i = 0; i < 50; ++i) {
    const Step step = RandomStep({{&arm, engine::Phase::kDecode, 20}}, &random);
    stats.AddStep(step.rows, step.record);
  }
  const std::vector<ExpertCounts> snapshot = stats.Snapshot();
  ASSERT_EQ(snapshot.size(), 2u);
  ExpectEqualities(snapshot);
  for (size_t layer = 0; layer < kLayers; ++layer) {
    const LayerCounts& applied = snapshot[0].layers[layer];
    const LayerCounts& analyzed = snapshot[1].layers[layer];
    EXPECT_EQ(applied.expert_tokens[2], 0u);
    EXPECT_EQ(applied.expert_tokens[7], 1000u);
    EXPECT_EQ(applied.expert_tokens[1], 1000u);
    EXPECT_GT(applied.force_hits, 0u);
    EXPECT_LT(applied.force_hits, 1000u);
    EXPECT_EQ(analyzed.expert_tokens[2], 1000u) << "a rule of its own";
    EXPECT_EQ(analyzed.common_experts + analyzed.union_experts,
              Selections(applied) + Selections(analyzed));
    EXPECT_GE(analyzed.union_experts, analyzed.common_experts + 1000) << "expert 2 is never common";
  }
}

// One row a layer, by hand.
TEST(ExpertStatsTest, EveryFieldOfARowIsCounted) {
  ExpertStats stats(kLayers, kExperts);
  const routing::Assignment arm = Arm("a", TopPAnalyzed());
  routing::RowRouting row;
  row.applied = {2, true, false, true, 0.5f};
  row.analyzed = routing::Decision{4, false, true, false, 0.75f};
  row.router_entropy = 1.5f;
  row.experts = {5, 3};
  row.analyzed_experts = {2, 7, 0, 3};
  row.weights = {0.3f, 0.2f};
  routing::RoutingRecord record;
  record.Reset(kLayers, 1);
  for (int layer = 0; layer < kLayers; ++layer) record.Add(row);
  stats.AddStep({{&arm, engine::Phase::kDecode, 0, 1}}, record);
  const std::vector<ExpertCounts> snapshot = stats.Snapshot();
  ASSERT_EQ(snapshot.size(), 2u);
  const LayerCounts& applied = snapshot[0].layers[1];
  EXPECT_THAT(applied.expert_tokens, ElementsAre(0, 0, 0, 1, 0, 1, 0, 0));
  EXPECT_EQ(applied.experts_per_token[2], 1u);
  EXPECT_EQ(applied.min_k_hits, 1u);
  EXPECT_EQ(applied.max_k_hits, 0u);
  EXPECT_EQ(applied.force_hits, 1u);
  EXPECT_EQ(applied.selected_mass, 0.5);
  EXPECT_EQ(applied.router_entropy, 1.5);
  EXPECT_EQ(applied.common_experts, 0u);
  const LayerCounts& analyzed = snapshot[1].layers[1];
  EXPECT_THAT(analyzed.expert_tokens, ElementsAre(1, 0, 1, 1, 0, 0, 0, 1));
  EXPECT_EQ(analyzed.max_k_hits, 1u);
  EXPECT_EQ(analyzed.force_hits, 0u);
  EXPECT_EQ(analyzed.common_experts, 1u) << "sets, none of which is a part of the other";
  EXPECT_EQ(analyzed.union_experts, 5u);
}

TEST(ExpertStatsTest, ARowThatFailedInOneLayerCountsInNone) {
  ExpertStats stats(kLayers, kExperts);
  const routing::Assignment arm = Arm("a", TopK(1));
  routing::RowRouting row;
  row.applied = {1, false, false, false, 0.5f};
  row.experts = {0};
  row.weights = {0.5f};
  routing::RoutingRecord record;
  record.Reset(kLayers, 2);
  for (int layer = 0; layer < kLayers; ++layer) {
    record.Add(row);
    layer == 1 ? record.AddFailed() : record.Add(row);
  }
  stats.AddStep({{&arm, engine::Phase::kDecode, 0, 2}}, record);
  const std::vector<ExpertCounts> snapshot = stats.Snapshot();
  for (const LayerCounts& layer : snapshot.at(0).layers) EXPECT_EQ(layer.tokens, 1u);
}

TEST(ExpertStatsTest, PoliciesOfAnArmAreKeptApartAndItsTotalNeverGoesBack) {
  ExpertStats stats(kLayers, kExperts);
  std::mt19937 random(2);
  uint64_t before = 0;
  for (int i = 0; i < 40; ++i) {
    routing::PolicySpec spec = TopK(1 + static_cast<uint32_t>(i) % kExperts);
    spec.policy_id = absl::StrCat("p", i);
    const routing::Assignment arm = Arm("a", spec);
    const Step step = RandomStep({{&arm, engine::Phase::kDecode, 3}}, &random);
    stats.AddStep(step.rows, step.record);
    const std::vector<ExpertCounts> snapshot = stats.Snapshot();
    uint64_t total = 0;
    for (const ExpertCounts& counts : snapshot) total += counts.layers[0].tokens;
    EXPECT_EQ(total, before + 3);
    before = total;
    EXPECT_LE(snapshot.size(), 9u);
    EXPECT_EQ(snapshot.back().policy_id, spec.policy_id);
  }
  ExpectEqualities(stats.Snapshot());
}

TEST(ExpertStatsTest, InlinePoliciesAreOneSum) {
  ExpertStats stats(kLayers, kExperts);
  std::mt19937 random(3);
  for (int i = 0; i < 20; ++i) {
    routing::PolicySpec spec = TopK(1 + static_cast<uint32_t>(i) % kExperts);
    spec.policy_id = absl::StrCat("p", i);
    routing::Assignment arm = Arm("inline", spec);
    arm.reason = routing::AssignmentReason::kInlinePolicy;
    const Step step = RandomStep({{&arm, engine::Phase::kPrefill, 2}}, &random);
    stats.AddStep(step.rows, step.record);
  }
  const std::vector<ExpertCounts> snapshot = stats.Snapshot();
  ASSERT_EQ(snapshot.size(), 1u);
  EXPECT_EQ(snapshot[0].policy_digest, "");
  EXPECT_EQ(snapshot[0].layers[0].tokens, 40u);
}

TEST(ExpertStatsTest, ArmsWithoutEndDoNotGrowIt) {
  ExpertStats stats(kLayers, kExperts);
  std::mt19937 random(4);
  for (int i = 0; i < 100; ++i) {
    const routing::Assignment arm = Arm(absl::StrCat("arm-", i), TopK(1));
    const Step step = RandomStep({{&arm, engine::Phase::kDecode, 1}}, &random);
    stats.AddStep(step.rows, step.record);
  }
  EXPECT_EQ(stats.Snapshot().size(), kMaxArmsKept);
}

}  // namespace
}  // namespace olmoe::stats
