#include "server/api/score_response.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::api {
namespace {

using ::testing::ElementsAre;

engine::WindowScores Window(int index, std::vector<engine::ScoredToken> tokens) {
  engine::WindowScores window;
  window.window = index;
  window.tokens = std::move(tokens);
  return window;
}

// 3 positions, 2 layers, counts 1 2 | 2 1 | 1 1.
engine::RoutingTrace Trace() {
  engine::RoutingTrace trace;
  trace.num_positions = 3;
  trace.num_layers = 2;
  trace.counts = {1, 2, 2, 1, 1, 1};
  trace.experts = {10, 20, 21, 30, 31, 40, 50, 60};
  trace.weights = {.1f, .2f, .21f, .3f, .31f, .4f, .5f, .6f};
  trace.logits = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};  // 2 experts
  return trace;
}

TEST(ScoreCollectorTest, SumsTheWindowsOfEachItemWhateverTheirOrder) {
  ScoreCollector collector({{0, 2, 0, 9}, {2, 1, 3, 4}}, 3, /*per_token=*/false);
  collector.Add(Window(2, {{5, -0.5f, 2, {}}}));
  collector.Add(Window(1, {{3, -4.f, 1, {}}}));
  collector.Add(Window(0, {{1, -1.f, 1, {}}, {2, -2.f, 1, {}}}));
  const v1::ScoreResponse response = collector.Response({});
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(0).logprob_sum(), -7);
  EXPECT_TRUE(response.results(0).is_greedy());
  EXPECT_EQ(response.results(0).token_count(), 3u);
  EXPECT_EQ(response.results(0).byte_count(), 9u);
  EXPECT_EQ(response.results(1).logprob_sum(), -0.5);
  EXPECT_FALSE(response.results(1).is_greedy());
  EXPECT_EQ(response.results(1).context_tokens_dropped(), 3u);
  EXPECT_EQ(response.results(1).tokens_size(), 0);
  EXPECT_EQ(collector.logprob_sum(), -7.5);
}

TEST(ScoreCollectorTest, SumsInDouble) {
  // In float the small ones would be lost.
  ScoreCollector collector({{0, 1, 0, 0}}, 1, false);
  std::vector<engine::ScoredToken> tokens(1001, engine::ScoredToken{0, -1e-8f, 1, {}});
  tokens[0].logprob = -1;
  collector.Add(Window(0, std::move(tokens)));
  EXPECT_NEAR(collector.Response({}).results(0).logprob_sum(), -1.00001, 1e-12);
}

TEST(DropFirstPositionsTest, DropsTheirShareOfEveryField) {
  engine::RoutingTrace trace = Trace();
  DropFirstPositions(1, &trace);
  EXPECT_EQ(trace.first_position, 1);
  EXPECT_EQ(trace.num_positions, 2);
  EXPECT_THAT(trace.counts, ElementsAre(2, 1, 1, 1));
  EXPECT_THAT(trace.experts, ElementsAre(30, 31, 40, 50, 60));
  EXPECT_THAT(trace.weights, ElementsAre(.3f, .31f, .4f, .5f, .6f));
  EXPECT_THAT(trace.logits, ElementsAre(4, 5, 6, 7, 8, 9, 10, 11));
}

TEST(DropFirstPositionsTest, WorksForTracesOfLogitsAlone) {
  engine::RoutingTrace trace = Trace();
  trace.counts.clear();
  trace.experts.clear();
  trace.weights.clear();
  DropFirstPositions(2, &trace);
  EXPECT_EQ(trace.num_positions, 1);
  EXPECT_THAT(trace.logits, ElementsAre(8, 9, 10, 11));
}

TEST(ScoreCollectorTest, TracesOfRollingWindowsHoldEveryPositionOnce) {
  // Window 1 has 3 rows and scores 2 tokens: its first row repeats window 0's last.
  ScoreCollector collector({{0, 2, 0, 0}}, 2, false);
  engine::WindowScores first = Window(0, {{0, 0, 1, {}}, {0, 0, 1, {}}, {0, 0, 1, {}}});
  engine::WindowScores second = Window(1, {{0, 0, 1, {}}, {0, 0, 1, {}}});
  first.trace = Trace();
  second.trace = Trace();
  collector.Add(std::move(second));
  collector.Add(std::move(first));
  const v1::RoutingTrace trace = collector.Response({}).results(0).trace();
  EXPECT_EQ(trace.first_position(), 0u);
  EXPECT_EQ(trace.num_positions(), 5u);
  EXPECT_EQ(trace.counts().size(), 10u);
  EXPECT_EQ(trace.experts().size(), 8u + 5u);
}

}  // namespace
}  // namespace olmoe::api
