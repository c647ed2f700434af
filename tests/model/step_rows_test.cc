#include "server/model/step_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace olmoe::model {
namespace {

constexpr routing::RouterShape kShape = {2, 8, 2, false};
constexpr StepLimits kLimits = {.max_rows = 8,
                                .max_context = 12,
                                .vocab_size = 100,
                                .page_tokens = 4,
                                .num_pages = 16,
                                .router = kShape};

class StepRowsTest : public ::testing::Test {
 protected:
  Chunk MakeChunk(std::span<const TokenId> tokens, std::span<const PageId> pages,
                  int first_position) {
    Chunk chunk;
    chunk.tokens = tokens;
    chunk.pages = pages;
    chunk.first_position = first_position;
    chunk.policy = policy_.get();
    return chunk;
  }

  int Build(std::span<const TokenId> tokens, std::span<const PageId> pages, int first_position) {
    StepBatch step;
    step.chunks = {MakeChunk(tokens, pages, first_position)};
    return BuildRows(step, kLimits).num_rows();
  }

  const std::shared_ptr<const routing::RoutingPolicy> policy_ =
      routing::RoutingPolicy::Native(kShape);
  const std::vector<TokenId> tokens_ = {3, 1, 4, 1, 5};
  const std::vector<PageId> pages_ = {7, 2};
};

TEST_F(StepRowsTest, RowsFollowTheOrderOfTheBatch) {
  StepBatch step;
  step.chunks = {MakeChunk(std::span(tokens_).first(2), pages_, 5),
                 MakeChunk(std::span(tokens_).subspan(2), pages_, 0)};
  const ops::RowBatch rows = BuildRows(step, kLimits);
  EXPECT_THAT(rows.tokens, ::testing::ElementsAre(3, 1, 4, 1, 5));
  EXPECT_THAT(rows.positions, ::testing::ElementsAre(5, 6, 0, 1, 2));
  ASSERT_EQ(rows.sequences.size(), 2u);
  EXPECT_EQ(rows.sequences[1].first_row, 2);
  EXPECT_EQ(rows.sequences[1].num_rows, 3);
  EXPECT_EQ(rows.sequences[0].first_position, 5);
}

TEST_F(StepRowsTest, LogitRowsAreThoseOfLiveChunksThatAskForThem) {
  const std::vector<TokenId> targets = {1, kNoTarget, 2};
  StepBatch step;
  step.chunks = {MakeChunk(std::span(tokens_).first(3), pages_, 0),
                 MakeChunk(std::span(tokens_).first(2), pages_, 0),
                 MakeChunk(std::span(tokens_).first(3), pages_, 0)};
  step.chunks[0].score = ScoreRequest{targets, 0};
  step.chunks[0].sample = SampleRequest{};
  step.chunks[1].sample = SampleRequest{};
  step.chunks[2].score = ScoreRequest{targets, 0};
  step.chunks.push_back(MakeChunk(std::span(tokens_).first(2), pages_, 0));
  step.chunks[3].last_logits = true;
  StepOutput output;
  PrepareOutput(step, 2, &output);
  ASSERT_EQ(output.chunks[0].scored.size(), 2u);
  EXPECT_EQ(output.chunks[0].scored[1].row, 2);
  EXPECT_EQ(output.routing.num_rows(), 10);
  output.chunks[2].status = absl::InternalError("failed");
  const std::vector<LogitRow> rows = CollectLogitRows(step, output);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].row, 0);
  EXPECT_EQ(rows[0].scored, 0);
  EXPECT_FALSE(rows[0].sample);
  EXPECT_EQ(rows[1].row, 2);
  EXPECT_EQ(rows[1].scored, 1);
  EXPECT_TRUE(rows[1].sample);
  EXPECT_EQ(rows[2].row, 4);
  EXPECT_EQ(rows[2].chunk, 1u);
  EXPECT_EQ(rows[2].scored, -1);
  EXPECT_FALSE(rows[2].keep);
  EXPECT_EQ(rows[3].row, 9);
  EXPECT_TRUE(rows[3].keep);
  EXPECT_FALSE(rows[3].sample);
}

TEST_F(StepRowsTest, PrepareOutputLeavesNothingOfTheStepBefore) {
  StepBatch step;
  step.chunks = {MakeChunk(tokens_, pages_, 0)};
  StepOutput output;
  output.chunks.resize(3);
  output.chunks[0].status = absl::InternalError("old");
  output.chunks[0].sampled.emplace();
  output.chunks[0].router_logits = {1};
  output.chunks[0].last_logits = {1};
  output.chunks[0].scored.emplace_back();
  PrepareOutput(step, 2, &output);
  ASSERT_EQ(output.chunks.size(), 1u);
  EXPECT_TRUE(output.chunks[0].status.ok());
  EXPECT_FALSE(output.chunks[0].sampled.has_value());
  EXPECT_TRUE(output.chunks[0].router_logits.empty());
  EXPECT_TRUE(output.chunks[0].last_logits.empty());
  EXPECT_TRUE(output.chunks[0].scored.empty());
}

using StepRowsDeathTest = StepRowsTest;

TEST_F(StepRowsDeathTest, MalformedBatchesCheck) {
  const std::vector<TokenId> outside = {100}, negative = {-1}, many(9, 1);
  const std::vector<PageId> one = {0}, unknown = {0, 16}, three = {0, 1, 2};
  EXPECT_EQ(Build(tokens_, pages_, 3), 5);
  EXPECT_DEATH(Build(many, three, 0), "max_rows");
  EXPECT_DEATH(Build({}, pages_, 0), "without rows");
  EXPECT_DEATH(Build(outside, pages_, 0), "token 100");
  EXPECT_DEATH(Build(negative, pages_, 0), "token -1");
  EXPECT_DEATH(Build(tokens_, one, 0), "do not cover");
  EXPECT_DEATH(Build(tokens_, unknown, 0), "page 16 of 16");
  EXPECT_DEATH(Build(tokens_, three, 8), "max_context");
  EXPECT_DEATH(Build(tokens_, pages_, -1), "first_position");
}

TEST_F(StepRowsDeathTest, APolicyOfAnotherModelChecks) {
  const auto other = routing::RoutingPolicy::Native({2, 16, 2, false});
  StepBatch step;
  step.chunks = {MakeChunk(tokens_, pages_, 0)};
  step.chunks[0].policy = other.get();
  EXPECT_DEATH(BuildRows(step, kLimits), "another model");
  step.chunks[0].policy = nullptr;
  EXPECT_DEATH(BuildRows(step, kLimits), "without a policy");
}

}  // namespace
}  // namespace olmoe::model
