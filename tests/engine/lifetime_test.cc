// How requests end other than by finishing, and that nothing of them is left.
#include <gtest/gtest.h>

#include <thread>

#include "absl/synchronization/notification.h"
#include "google/rpc/error_details.pb.h"
#include "tests/engine/harness.h"
#include "tests/support/thread_limit.h"

namespace olmoe::engine {
namespace {

constexpr char kRetryInfo[] = "type.googleapis.com/google.rpc.RetryInfo";

// The RetryInfo of `status` in seconds; negative where there is none.
double RetrySeconds(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryInfo);
  google::rpc::RetryInfo retry;
  if (!payload.has_value() || !retry.ParseFromString(std::string(*payload))) return -1;
  return static_cast<double>(retry.retry_delay().seconds()) + retry.retry_delay().nanos() * 1e-9;
}

// A sink that, in OnDone, expects nothing of the (only) request to be left.
std::shared_ptr<RecordingSink> SinkThatExpectsAllFree(Harness* harness) {
  auto sink = std::make_shared<RecordingSink>();
  sink->on_done = [harness] {
    const EngineStatus status = harness->engine->Status();
    EXPECT_EQ(status.kv_used_bytes, 0);
    EXPECT_EQ(status.running_requests + status.queued_requests, 0);
    EXPECT_TRUE(status.requests.empty());
    EXPECT_EQ(harness->slot.InFlight(1), 0);
  };
  return sink;
}

void AwaitDraining(const Engine& engine) {
  while (!engine.Status().draining) std::this_thread::yield();
}

TEST(LifetimeDeathTest, WhereThereIsNoThreadForItItThrows) {
  if (!testing::kThreadsCanFail) GTEST_SKIP();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(testing::ExitWhereThreadsEnd(0,
                                           [] {
                                             testing::FakeModel model;
                                             Engine::Create({}, &model, nullptr);
                                           }),
              ::testing::ExitedWithCode(0), "");
}

TEST(LifetimeTest, FinishedRequestLeavesNothing) {
  Harness harness;
  const auto submitted =
      harness.Submit(harness.Generate({1, 2, 3}, 5), SinkThatExpectsAllFree(&harness));
  EXPECT_TRUE(submitted.sink->AwaitDone().completion.status.ok());
}

TEST(LifetimeTest, CancelledRequestComputesAtMostOneMoreStep) {
  for (int step = 1; step <= 10; ++step) {
    Harness harness({.engine = {.max_batch_sequences = 1, .max_batch_tokens = 8}});
    harness.model.Hold();
    harness.model.Allow(step - 1);
    const auto submitted =
        harness.Submit(harness.Generate(Range(1, 30), 100), SinkThatExpectsAllFree(&harness));
    harness.model.AwaitStepBegun(step);
    harness.engine->Cancel(submitted.handle, absl::CancelledError("gone"));
    harness.model.Unhold();
    const Reply reply = submitted.sink->AwaitDone();
    EXPECT_EQ(reply.completion.status, absl::CancelledError("gone"));
    EXPECT_EQ(harness.model.counters().steps, step);
    EXPECT_EQ(reply.completion.completion_tokens, reply.tokens.size());
  }
}

TEST(LifetimeTest, RequestCancelledInTheQueueIsNeverComputed) {
  Harness harness({.engine = {.max_batch_sequences = 1}});
  harness.model.Hold();
  const auto running = harness.Submit(harness.Generate({1}, 3));
  harness.model.AwaitStepBegun(1);
  const auto queued = harness.Submit(harness.Generate({1, 2, 3}, 3));
  harness.engine->Cancel(queued.handle, absl::CancelledError(""));
  harness.engine->Cancel(queued.handle, absl::InternalError("the first counts"));
  harness.model.Unhold();
  const Completion completion = queued.sink->AwaitDone().completion;
  EXPECT_EQ(completion.status, absl::CancelledError(""));
  EXPECT_EQ(completion.timing.queue, absl::ZeroDuration()) << "it never left it";
  EXPECT_TRUE(running.sink->AwaitDone().completion.status.ok());
  EXPECT_EQ(harness.model.counters().rows, 3);
}

TEST(LifetimeTest, UnknownAndFinishedHandlesAreIgnored) {
  Harness harness;
  const auto submitted = harness.Submit(harness.Generate({1}, 2));
  submitted.sink->AwaitDone();
  for (RequestHandle handle : {submitted.handle, RequestHandle{0}, RequestHandle{12345}}) {
    harness.engine->Cancel(handle, absl::CancelledError(""));
    harness.engine->Resume(handle);
  }
  EXPECT_TRUE(harness.Run(harness.Generate({1}, 2)).completion.status.ok());
}

TEST(LifetimeTest, ASinkMayCancelAndSubmitFromItsCallbacks) {
  Harness harness;
  const auto first = std::make_shared<RecordingSink>();
  const auto second = std::make_shared<RecordingSink>();
  absl::Notification submitted;
  RequestHandle handle = 0;
  first->flow = [&](const Reply& so_far) {
    submitted.WaitForNotification();
    if (so_far.tokens.size() == 3) harness.engine->Cancel(handle, absl::CancelledError("itself"));
    return Flow::kContinue;
  };
  first->on_done = [&] { harness.Submit(harness.Generate({1}, 2), second); };
  handle = harness.Submit(harness.Generate({1}, 100), first).handle;
  submitted.Notify();
  const Reply reply = first->AwaitDone();
  EXPECT_EQ(reply.completion.status, absl::CancelledError("itself"));
  EXPECT_EQ(reply.tokens.size(), 3u);
  EXPECT_TRUE(second->AwaitDone().completion.status.ok());
}

TEST(LifetimeTest, ExpiredOnArrivalIsRefused) {
  Harness harness;
  Request request = harness.Generate({1}, 2);
  request.deadline = harness.clock.Now();
  const auto handle =
      SubmitTo(harness.engine.get(), std::move(request), std::make_shared<RecordingSink>());
  EXPECT_EQ(handle.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(harness.slot.InFlight(1), 0);
}

TEST(LifetimeTest, ExpiredInQueueIsNeverComputed) {
  Harness harness({.engine = {.max_batch_sequences = 1}});
  harness.model.Hold();
  const auto running = harness.Submit(harness.Generate({1}, 3));
  harness.model.AwaitStepBegun(1);
  Request request = harness.Generate({1, 2, 3}, 3);
  request.deadline = harness.clock.Now() + absl::Seconds(1);
  const auto expiring = harness.Submit(std::move(request));
  harness.clock.Advance(absl::Seconds(1));
  harness.model.Unhold();
  EXPECT_EQ(expiring.sink->AwaitDone().completion.status.code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(running.sink->AwaitDone().completion.status.ok());
  EXPECT_EQ(harness.model.counters().rows, 3);
}

TEST(LifetimeTest, ExpiredWhileRunningIsDroppedBeforeTheNextStep) {
  Harness harness;
  harness.model.Hold();
  Request request = harness.Generate({1, 2}, 100);
  request.deadline = harness.clock.Now() + absl::Seconds(1);
  const auto submitted = harness.Submit(std::move(request), SinkThatExpectsAllFree(&harness));
  harness.model.AwaitStepBegun(1);
  harness.model.Allow(1);
  harness.model.AwaitStepBegun(2);
  harness.clock.Advance(absl::Seconds(2));
  harness.model.Unhold();
  const Reply reply = submitted.sink->AwaitDone();
  EXPECT_EQ(reply.completion.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(reply.tokens.size(), 2u);
  EXPECT_EQ(harness.model.counters().steps, 2);
}

// With the only request paused nobody calls the engine: only what becomes due can wake it. By the
// real clock, because a manual one cannot pass while the engine sleeps. Without the wake-up the
// next two hang.
TEST(LifetimeTest, AnIdleEngineWakesForADeadlineByItself) {
  Harness harness({.engine = {.slow_reader_timeout = absl::InfiniteDuration()}, .real_time = true});
  Request request = harness.Generate({1, 2}, 20);
  request.deadline = absl::Now() + absl::Seconds(1);
  const auto sink = std::make_shared<RecordingSink>();
  sink->flow = [](const Reply&) { return Flow::kPause; };
  harness.Submit(std::move(request), sink);
  EXPECT_EQ(sink->AwaitDone().completion.status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(LifetimeTest, AnIdleEngineWakesForASlowReaderByItself) {
  Harness harness({.engine = {.slow_reader_timeout = absl::Milliseconds(20)}, .real_time = true});
  const auto sink = std::make_shared<RecordingSink>();
  sink->flow = [](const Reply&) { return Flow::kPause; };
  harness.Submit(harness.Generate({1, 2}, 20), sink);
  EXPECT_EQ(sink->AwaitDone().completion.status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(LifetimeTest, SlowReaderHoldsUpNobody) {
  Harness harness;
  const Reply expected = harness.Run(harness.Generate({1, 2}, 20));
  const auto sink = std::make_shared<RecordingSink>();
  sink->flow = [](const Reply& so_far) {
    return so_far.tokens.size() == 4 ? Flow::kPause : Flow::kContinue;
  };
  const auto slow = harness.Submit(harness.Generate({1, 2}, 20), sink);
  EXPECT_EQ(harness.Run(harness.Generate({3}, 60)).tokens.size(), 60u);
  EXPECT_EQ(sink->so_far().tokens.size(), 4u);
  EXPECT_EQ(harness.engine->Status().running_requests, 1);
  harness.engine->Resume(slow.handle);
  const Reply reply = sink->AwaitDone();
  EXPECT_EQ(reply.token_ids(), expected.token_ids());
}

TEST(LifetimeTest, SlowReaderIsCancelledAfterTheTimeout) {
  Harness harness({.engine = {.slow_reader_timeout = absl::Seconds(30)}});
  const auto sink = SinkThatExpectsAllFree(&harness);
  sink->flow = [](const Reply&) { return Flow::kPause; };
  harness.Submit(harness.Generate({1, 2}, 20), sink);
  sink->AwaitTokens(1);
  sink->on_done = nullptr;  // the poke below is alive at the same time
  harness.Poke();
  harness.clock.Advance(absl::Seconds(29));
  harness.Poke();
  EXPECT_FALSE(sink->so_far().done);
  harness.clock.Advance(absl::Seconds(1));
  harness.Poke();
  const Completion completion = sink->AwaitDone().completion;
  EXPECT_EQ(completion.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(completion.completion_tokens, 1u);
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
}

TEST(LifetimeTest, PausedRequestCanBeCancelled) {
  Harness harness;
  const auto sink = SinkThatExpectsAllFree(&harness);
  sink->flow = [](const Reply&) { return Flow::kPause; };
  const auto submitted = harness.Submit(harness.Generate({1, 2}, 20), sink);
  sink->AwaitTokens(1);
  harness.engine->Cancel(submitted.handle, absl::CancelledError(""));
  EXPECT_EQ(sink->AwaitDone().completion.status, absl::CancelledError(""));
}

TEST(LifetimeTest, ResumeDuringTheCallbackThatPausesIsNotLost) {
  Harness harness;
  const auto sink = std::make_shared<RecordingSink>();
  absl::Notification submitted;
  RequestHandle handle = 0;
  sink->flow = [&](const Reply&) {
    submitted.WaitForNotification();
    harness.engine->Resume(handle);
    return Flow::kPause;
  };
  handle = harness.Submit(harness.Generate({1, 2}, 20), sink).handle;
  submitted.Notify();
  EXPECT_EQ(sink->AwaitDone().tokens.size(), 20u);
}

TEST(LifetimeTest, QueueFullIsRefusedWithRetryDelay) {
  Harness harness({.engine = {.max_batch_sequences = 1, .max_queue = 3}});
  // Four requests that wait for two seconds each: what the engine has seen of its speed.
  harness.model.Hold();
  std::vector<Submitted> submitted = {harness.Submit(harness.Generate({1}, 1))};
  harness.model.AwaitStepBegun(1);
  for (int i = 0; i < 3; ++i) submitted.push_back(harness.Submit(harness.Generate({1}, 1)));
  for (int step = 2; step <= 4; ++step) {
    harness.clock.Advance(absl::Seconds(2));
    harness.model.Allow(1);
    harness.model.AwaitStepBegun(step);
    submitted.push_back(harness.Submit(harness.Generate({1}, 1)));
  }
  const auto refused =
      SubmitTo(harness.engine.get(), harness.Generate({1}, 1), std::make_shared<RecordingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(), "the queue is full: 3 requests wait");
  EXPECT_DOUBLE_EQ(RetrySeconds(refused.status()), 3 * 2.0);
  harness.model.Unhold();
  for (const Submitted& request : submitted) {
    EXPECT_TRUE(request.sink->AwaitDone().completion.status.ok());
  }
}

TEST(LifetimeTest, AClientAloneFillsTheQueueButForAPlaceForOthers) {
  Harness harness({.engine = {.max_batch_sequences = 1, .max_queue = 9}});
  harness.model.Hold();
  const auto submit = [&harness](const std::string& client) {
    Request request = harness.Generate({1}, 1);
    request.client = client;
    return SubmitTo(harness.engine.get(), std::move(request), std::make_shared<RecordingSink>())
        .status();
  };
  EXPECT_TRUE(submit("greedy").ok());
  harness.model.AwaitStepBegun(1);  // that one has left the queue
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(submit("greedy").ok()) << i;
  const absl::Status share = submit("greedy");
  EXPECT_EQ(share.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(share.message(), "your share of the queue is full: 8 requests wait");
  EXPECT_GT(RetrySeconds(share), 0);
  EXPECT_TRUE(submit("other").ok());
  EXPECT_EQ(submit("third").message(), "the queue is full: 9 requests wait");
  harness.model.Unhold();
}

TEST(LifetimeTest, RequestLargerThanTheCacheIsRefusedWithoutRetryDelay) {
  Harness harness({.model = {.page_tokens = 4, .num_pages = 5}});
  EXPECT_TRUE(harness.Run(harness.Generate({1}, 20)).completion.status.ok());
  const auto refused =
      SubmitTo(harness.engine.get(), harness.Generate({1}, 21), std::make_shared<RecordingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LT(RetrySeconds(refused.status()), 0);
  const auto window = SubmitTo(harness.engine.get(),
                               harness.Score({{.tokens = Range(1, 5), .first_scored = 1},
                                              {.tokens = Range(1, 22), .first_scored = 1}}),
                               std::make_shared<RecordingSink>());
  EXPECT_EQ(window.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(LifetimeTest, RequestsThatNeedTheWholeCacheRunOneAfterTheOther) {
  Harness harness({.model = {.page_tokens = 4, .num_pages = 5}});
  std::vector<Submitted> submitted;
  for (int i = 0; i < 10; ++i) submitted.push_back(harness.Submit(harness.Generate({i}, 20)));
  for (const Submitted& request : submitted) {
    EXPECT_EQ(request.sink->AwaitDone().tokens.size(), 20u);
  }
  EXPECT_EQ(harness.model.counters().max_chunks, 1);
}

TEST(LifetimeTest, ModelErrorEndsOnlyItsRequests) {
  Harness harness({.engine = {.max_batch_sequences = 2}});
  harness.model.Hold();
  harness.model.FailStep(2, absl::InternalError("device lost"));
  const auto first = harness.Submit(harness.Generate({1}, 5));
  const auto second = harness.Submit(harness.Generate({2}, 5));
  const auto third = harness.Submit(harness.Generate({3}, 5));
  harness.model.Unhold();
  EXPECT_EQ(first.sink->AwaitDone().completion.status, absl::InternalError("device lost"));
  EXPECT_EQ(third.sink->AwaitDone().completion.status, absl::OkStatus());
  second.sink->AwaitDone();
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
  EXPECT_TRUE(harness.Run(harness.Generate({1}, 5)).completion.status.ok());
}

TEST(LifetimeTest, NonFiniteRowEndsOnlyItsRequest) {
  Harness harness({.model = {.nan_token = 63}});
  const Reply expected = harness.Run(harness.Generate({1, 2}, 9));
  harness.model.Hold();
  const auto good = harness.Submit(harness.Generate({1, 2}, 9));
  const auto bad = harness.Submit(harness.Generate({1, 63}, 9));
  harness.model.Unhold();
  const Completion completion = bad.sink->AwaitDone().completion;
  EXPECT_EQ(completion.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(completion.completion_tokens, 0u);
  EXPECT_EQ(Fingerprint(good.sink->AwaitDone()), Fingerprint(expected));
}

TEST(LifetimeTest, DrainFinishesAcceptedRequests) {
  Harness harness({.engine = {.max_batch_sequences = 4}});
  harness.model.Hold();
  std::vector<Submitted> submitted;
  for (int i = 0; i < 20; ++i) submitted.push_back(harness.Submit(harness.Generate({i}, 5)));
  int cut_off = -1;
  const absl::Time deadline = harness.clock.Now() + absl::Seconds(40);
  std::thread drain([&] { cut_off = harness.engine->Drain(deadline); });
  AwaitDraining(*harness.engine);
  const auto refused =
      SubmitTo(harness.engine.get(), harness.Generate({1}, 5), std::make_shared<RecordingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_DOUBLE_EQ(RetrySeconds(refused.status()), 40);
  harness.model.Unhold();
  drain.join();
  EXPECT_EQ(cut_off, 0);
  for (const Submitted& request : submitted) {
    const Reply reply = request.sink->so_far();
    EXPECT_TRUE(reply.done) << "Drain returned before OnDone";
    EXPECT_EQ(reply.tokens.size(), 5u);
  }
}

TEST(LifetimeTest, DrainCancelsThoseLeftAtTheDeadline) {
  Harness harness({.engine = {.max_batch_sequences = 4}});
  harness.model.Hold();
  std::vector<Submitted> submitted;
  for (int i = 0; i < 20; ++i) submitted.push_back(harness.Submit(harness.Generate({i}, 900)));
  int cut_off = -1;
  std::thread drain([&] { cut_off = harness.engine->Drain(harness.clock.Now()); });
  AwaitDraining(*harness.engine);
  harness.model.Unhold();
  drain.join();
  EXPECT_EQ(cut_off, 20);
  for (const Submitted& request : submitted) {
    EXPECT_EQ(request.sink->so_far().completion.status.code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
}

TEST(LifetimeTest, DrainOfAnIdleEngineReturnsAtOnce) {
  Harness harness;
  EXPECT_EQ(harness.engine->Drain(absl::InfiniteFuture()), 0);
  EXPECT_EQ(harness.engine->Drain(absl::InfiniteFuture()), 0);
}

TEST(LifetimeTest, DestructionDeliversOnDone) {
  std::vector<Submitted> submitted;
  {
    Harness harness({.engine = {.max_batch_sequences = 2}});
    harness.model.Hold();
    for (int i = 0; i < 10; ++i) submitted.push_back(harness.Submit(harness.Generate({i}, 900)));
    harness.model.AwaitStepBegun(1);
  }
  for (const Submitted& request : submitted) {
    const Reply reply = request.sink->so_far();
    EXPECT_TRUE(reply.done);
    EXPECT_EQ(reply.completion.status.code(), absl::StatusCode::kUnavailable);
  }
}

}  // namespace
}  // namespace olmoe::engine
