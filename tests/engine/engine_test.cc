// Steps, their observer, and the status.
#include "server/engine/engine.h"

#include <gtest/gtest.h>

#include <map>

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
  EXPECT_EQ(harness.model.chunk_rows(),
            (std::vector<std::vector<int>>{{3}, {1, 5, 7}, {1}}));
}

TEST(EngineTest, ObserverSeesEveryRowOfTheRecordWithItsArmAndPhase) {
  std::map<std::pair<std::string, Phase>, int> rows;
  int64_t activations = 0;
  HarnessOptions options;
  options.engine.max_batch_tokens = 64;
  options.observer = [&](const std::vector<StepRows>& ranges,
                         const routing::RoutingRecord& record, absl::Duration step_time) {
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

}  // namespace
}  // namespace olmoe::engine
