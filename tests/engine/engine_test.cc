// Steps, their observer, and the status.
#include "server/engine/engine.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/harness.h"

namespace olmoe::engine {
namespace {

TEST(EngineTest, IdleEngineRunsNoStep) {
  Harness harness;
  EXPECT_EQ(harness.model.counters().steps, 0);
  harness.Run(harness.Generate({1, 2}, 5));
  EXPECT_EQ(harness.model.counters().steps, 5);
  const auto sink = std::make_shared<RecordingSink>();
  sink->flow = [](const Reply&) { return Flow::kPause; };
  const auto paused = harness.Submit(harness.Generate({1, 2}, 5), sink);
  sink->AwaitTokens(1);
  harness.engine->Status();
  harness.engine->Cancel(paused.handle, absl::CancelledError(""));
  sink->AwaitDone();
  EXPECT_EQ(harness.model.counters().steps, 6) << "a paused request computes nothing";
}

TEST(EngineTest, RequestsThatArriveDuringAStepShareTheNext) {
  Harness harness;
  harness.model.Hold();
  std::vector<Submitted> submitted = {harness.Submit(harness.Generate({1, 2, 3}, 2, /*k=*/1))};
  harness.model.AwaitStepBegun(1);
  submitted.push_back(harness.Submit(harness.Generate(Range(1, 5), 2, /*k=*/2)));
  submitted.push_back(harness.Submit(harness.Score({{.tokens = Range(1, 8), .first_scored = 1}})));
  harness.model.Unhold();
  for (const Submitted& request : submitted) {
    EXPECT_TRUE(request.sink->AwaitDone().completion.status.ok());
  }
  EXPECT_EQ(harness.model.chunk_rows(), (std::vector<std::vector<int>>{{3}, {1, 5, 7}, {1}}));
}

TEST(EngineTest, ObserverSeesEveryRowOfTheRecordWithItsArmAndPhase) {
  std::map<std::pair<std::string, Phase>, int> rows;
  int64_t activations = 0;
  HarnessOptions options;
  options.engine.max_batch_tokens = 64;
  options.observer = [&](const std::vector<StepRows>& ranges, const routing::RoutingRecord& record,
                         absl::Duration step_time) {
    EXPECT_EQ(step_time, absl::Seconds(2));
    int next_row = 0;
    for (const StepRows& range : ranges) {
      EXPECT_EQ(range.first_row, next_row);
      next_row += range.num_rows;
      rows[{range.assignment->arm_id, range.phase}] += range.num_rows;
      for (int row = range.first_row; row < next_row; ++row) {
        for (int layer = 0; layer < record.num_layers(); ++layer) {
          activations += record.applied(layer, row).k;
        }
      }
    }
    EXPECT_EQ(next_row, record.num_rows());
  };
  Harness harness(options);
  harness.model.Hold();
  const auto a = harness.Submit(harness.Generate(Range(1, 10), 4, /*k=*/1));
  const auto b = harness.Submit(harness.Generate(Range(1, 20), 2, /*k=*/3));
  const auto c = harness.Submit(harness.Score({{.tokens = Range(1, 30), .first_scored = 20}}, 3));
  for (int step = 1; step <= 4; ++step) {
    harness.model.AwaitStepBegun(step);
    harness.clock.Advance(absl::Seconds(2));
    harness.model.Allow(1);
  }
  uint64_t reported = 0;
  for (const Submitted& request : {a, b, c}) {
    reported += request.sink->AwaitDone().completion.expert_activations;
  }
  harness.engine.reset();  // the observer is not running any more
  EXPECT_EQ(rows, (std::map<std::pair<std::string, Phase>, int>{{{"k1", Phase::kPrefill}, 10},
                                                                {{"k1", Phase::kDecode}, 3},
                                                                {{"k3", Phase::kPrefill}, 20},
                                                                {{"k3", Phase::kDecode}, 1},
                                                                {{"k3", Phase::kScore}, 29}}));
  EXPECT_EQ(static_cast<uint64_t>(activations), reported);
}

TEST(EngineTest, StatusListsRunningAndQueuedRequests) {
  Harness harness({.model = {.page_tokens = 4, .num_pages = 100},
                   .engine = {.max_batch_sequences = 2, .max_batch_tokens = 8}});
  harness.model.Hold();
  const auto a = harness.Submit(harness.Generate(Range(1, 5), 8, /*k=*/3));
  const auto b = harness.Submit(harness.Score({{.tokens = Range(1, 8), .first_scored = 1}}));
  const auto c = harness.Submit(harness.Generate({1}, 1));
  harness.model.AwaitStepBegun(1);
  harness.model.Allow(1);
  harness.model.AwaitStepBegun(2);
  harness.clock.Advance(absl::Seconds(7));
  const EngineStatus status = harness.engine->Status();
  EXPECT_EQ(status.running_requests, 2);
  EXPECT_EQ(status.queued_requests, 1);
  EXPECT_FALSE(status.draining);
  const int64_t page_bytes = harness.model.kv_cache().page_bytes;
  EXPECT_EQ(status.kv_capacity_bytes, 100 * page_bytes);
  EXPECT_EQ(status.kv_used_bytes, (3 + 2) * page_bytes);
  ASSERT_EQ(status.requests.size(), 3u);
  EXPECT_EQ(status.requests[0].method, "generate");
  EXPECT_EQ(status.requests[0].arm_id, "k3");
  EXPECT_EQ(status.requests[0].generation, 1u);
  EXPECT_EQ(status.requests[0].prompt_tokens, 5u);
  EXPECT_EQ(status.requests[0].completion_tokens, 1u);
  EXPECT_EQ(status.requests[0].age, absl::Seconds(7));
  EXPECT_EQ(status.requests[1].method, "score");
  EXPECT_EQ(status.requests[2].completion_tokens, 0u);
  harness.model.Unhold();
  for (const Submitted& request : {a, b, c}) request.sink->AwaitDone();
  EXPECT_EQ(harness.slot.InFlight(1), 0);
}

// Step 1 is the prompt and its token; then a token every step, and one after a pause.
TEST(EngineTest, ObserverSeesTheTimeSinceTheTokenBefore) {
  std::vector<absl::Duration> intervals;
  HarnessOptions options;
  options.observer = [&](const std::vector<StepRows>& ranges, const routing::RoutingRecord&,
                         absl::Duration) {
    for (const StepRows& range : ranges) {
      EXPECT_EQ(range.token_interval.has_value(), range.phase == Phase::kDecode);
      if (range.token_interval) intervals.push_back(*range.token_interval);
    }
  };
  Harness harness(options);
  const auto sink = std::make_shared<RecordingSink>();
  sink->flow = [](const Reply& reply) {
    return reply.tokens.size() == 2 ? Flow::kPause : Flow::kContinue;
  };
  harness.model.Hold();
  const Submitted request = harness.Submit(harness.Generate({1, 2}, 3), sink);
  const Submitted score = harness.Submit(harness.Score({{.tokens = {1, 2}, .first_scored = 1}}));
  for (int step = 1; step <= 2; ++step) {
    harness.model.AwaitStepBegun(step);
    harness.clock.Advance(absl::Seconds(2));
    harness.model.Allow(1);
  }
  sink->AwaitTokens(2);
  harness.clock.Advance(absl::Seconds(5));
  harness.engine->Resume(request.handle);
  harness.model.AwaitStepBegun(3);
  harness.clock.Advance(absl::Seconds(2));
  harness.model.Unhold();
  EXPECT_TRUE(sink->AwaitDone().completion.status.ok());
  EXPECT_TRUE(score.sink->AwaitDone().completion.status.ok());
  harness.engine.reset();  // the observer is not running any more
  EXPECT_EQ(intervals, (std::vector<absl::Duration>{absl::Seconds(2), absl::Seconds(7)}));
}

TEST(EngineTest, LoadCountsTheRequestsOfEachArmUntilTheyEnd) {
  HarnessOptions options;
  options.engine.max_batch_sequences = 1;
  Harness harness(options);
  EXPECT_TRUE(harness.engine->Load().arms.empty());
  harness.model.Hold();
  const Submitted first = harness.Submit(harness.Generate({1, 2}, 2, /*k=*/1));
  harness.model.AwaitStepBegun(1);
  const Submitted second = harness.Submit(harness.Generate({1, 2}, 2, /*k=*/1));
  const Submitted third = harness.Submit(harness.Generate({1, 2}, 2, /*k=*/2));
  const EngineLoad load = harness.engine->Load();
  EXPECT_EQ(load.queued_requests, 2);
  EXPECT_GT(load.kv_used_bytes, 0);
  EXPECT_EQ(load.kv_capacity_bytes, harness.engine->Status().kv_capacity_bytes);
  ASSERT_EQ(load.arms.size(), 2u);
  EXPECT_EQ(load.arms.at("k1").running, 1);
  EXPECT_EQ(load.arms.at("k1").queued, 1);
  EXPECT_EQ(load.arms.at("k2").running, 0);
  EXPECT_EQ(load.arms.at("k2").queued, 1);
  harness.engine->Cancel(third.handle, absl::CancelledError(""));  // while it waits
  harness.model.Unhold();
  for (const Submitted& request : {first, second, third}) request.sink->AwaitDone();
  EXPECT_TRUE(harness.engine->Load().arms.empty());
  EXPECT_EQ(harness.engine->Load().kv_used_bytes, 0);
}

}  // namespace
}  // namespace olmoe::engine
