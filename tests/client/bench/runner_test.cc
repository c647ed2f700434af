// The runner against a simulated server in simulated time: exact, and without a wait.
#include "client/bench/runner.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "gtest/gtest.h"

namespace olmoe::client::bench {
namespace {

// A server that takes `service` for a request, `slots` at a time, first come first served,
// and the time that passes where it is waited for. Thread-compatible.
class Simulation final : public Clock, public Target {
 public:
  absl::Duration service = absl::Milliseconds(100);
  int slots = 1000;
  absl::Duration send_cost;  // that the client needs for a request
  absl::Status answer;
  int sent = 0, most_in_flight = 0;

  absl::Time Now() override { return now_; }
  void Wait(absl::CondVar*, absl::Mutex* mu, absl::Time until) override {
    mu->Unlock();
    if (!events_.empty() && events_.begin()->first <= until) {
      auto event = events_.extract(events_.begin());
      // At its own time, which is past where sending took longer: on a thread beside it.
      const absl::Time sent_until = std::exchange(now_, event.key());
      event.mapped()();
      now_ = std::max(now_, sent_until);
    } else {
      now_ = std::max(now_, until);
    }
    mu->Lock();
  }
  void At(absl::Duration time, std::function<void()> event) {
    events_.emplace(absl::UnixEpoch() + time, std::move(event));
  }

  void Generate(const v1::GenerateRequest&, OnEvent on_event, OnDone on_done) override {
    ++sent;
    most_in_flight = std::max(most_in_flight, ++in_flight_);
    now_ += send_cost;
    // The slot that is free first.
    while (static_cast<int>(free_.size()) < slots) free_.emplace(now_, 0);
    const absl::Time begin = std::max(now_, free_.begin()->first);
    free_.erase(free_.begin());
    const absl::Time end = begin + service;
    free_.emplace(end, 0);
    events_.emplace(end, [this, on_event, on_done] {
      v1::GenerateStreamResponse token;
      token.mutable_delta()->add_token_ids(1);
      if (!cancelled_ && answer.ok()) on_event(token);
      --in_flight_;
      on_done(cancelled_ ? absl::CancelledError("") : answer);
    });
  }
  void Score(const v1::ScoreRequest&, OnScored) override { FAIL() << "nothing is scored here"; }
  void CancelAll() override { cancelled_ = true; }

 private:
  absl::Time now_ = absl::UnixEpoch();
  std::multimap<absl::Time, std::function<void()>> events_;
  std::multimap<absl::Time, int> free_;  // when each slot is
  int in_flight_ = 0;
  bool cancelled_ = false;
};

class RunnerTest : public ::testing::Test {
 protected:
  Measurement Run(const Runner::Options& options) {
    Runner runner(options, &traffic_, &server_, &server_);
    return runner.Run([this](const Runner::Progress& progress) { last_ = progress; });
  }

  const Traffic traffic_{{}, PromptMix::BuiltIn()};
  Simulation server_;
  Runner::Progress last_;
};

constexpr Arrivals::Options kTenPerSecond = {.per_second = 10, .constant = true};

TEST_F(RunnerTest, AClosedLoopKeepsSoManyUnderWay) {
  const Measurement measurement = Run({.concurrency = 3, .requests = 10});
  EXPECT_EQ(server_.sent, 10);
  EXPECT_EQ(server_.most_in_flight, 3);
  EXPECT_EQ(measurement.all.requests, 10u);
  EXPECT_EQ(measurement.all.completion_tokens, 10u);
  EXPECT_NEAR(measurement.Seconds(), 0.4, 1e-9);  // 3 + 3 + 3 + 1
  EXPECT_EQ(last_.requests, 10u);
}

TEST_F(RunnerTest, AClosedLoopEndsAfterItsDurationAndItsLastRequest) {
  const Measurement measurement = Run({.concurrency = 2, .duration = absl::Milliseconds(250)});
  EXPECT_EQ(measurement.all.requests, 6u);  // sent at 0, 100 and 200 ms
  EXPECT_EQ(measurement.all.completed_in_window, 4u);
  EXPECT_NEAR(measurement.Seconds(), 0.25, 1e-9);
}

TEST_F(RunnerTest, AnOpenLoopHoldsItsRateWhateverTheServerDoes) {
  server_.service = absl::Seconds(30);
  const Measurement measurement = Run({.arrivals = kTenPerSecond, .duration = absl::Seconds(2)});
  EXPECT_EQ(measurement.all.requests, 20u);
  EXPECT_EQ(server_.most_in_flight, 20);
  EXPECT_EQ(measurement.send_delay.Max(), absl::ZeroDuration());
}

TEST_F(RunnerTest, AServerThatFallsBehindShowsInTheLatencies) {
  server_.slots = 1;
  server_.service = absl::Milliseconds(150);  // 1.5 times what there is time for
  const Measurement measurement = Run({.arrivals = kTenPerSecond, .requests = 21});
  // Number n waits for n more halves of an interval.
  EXPECT_NEAR(absl::ToDoubleSeconds(measurement.all.duration.Max()), 0.15 + 20 * 0.05, 1e-6);
  EXPECT_NEAR(absl::ToDoubleSeconds(measurement.all.first_token.Quantile(0.5)), 0.15 + 10 * 0.05,
              1e-3);
}

TEST_F(RunnerTest, AClientThatComesLateDoesNotHideIt) {
  server_.send_cost = absl::Milliseconds(150);
  const Measurement measurement = Run({.arrivals = kTenPerSecond, .requests = 11});
  // The last is due at 1 s and sent when ten others have been.
  EXPECT_NEAR(absl::ToDoubleSeconds(measurement.send_delay.Max()), 0.5, 1e-9);
  EXPECT_NEAR(absl::ToDoubleSeconds(measurement.all.duration.Max()), 0.5 + 0.15 + 0.1, 1e-9);
}

TEST_F(RunnerTest, WhatIsDueWhileTooManyAreUnderWayIsDroppedAndCounted) {
  server_.service = absl::Milliseconds(950);
  const Measurement measurement =
      Run({.arrivals = kTenPerSecond, .max_in_flight = 2, .duration = absl::Seconds(1)});
  EXPECT_EQ(measurement.all.requests, 2u);
  EXPECT_EQ(measurement.dropped, 8u);
  EXPECT_EQ(measurement.ErrorRatio(), 0.8);
  EXPECT_EQ(server_.most_in_flight, 2);
}

TEST_F(RunnerTest, WhatIsDroppedCountsTowardsTheNumberOfRequests) {
  server_.service = absl::Hours(1);
  const Measurement measurement =
      Run({.arrivals = kTenPerSecond, .max_in_flight = 1, .requests = 5});
  EXPECT_EQ(measurement.all.requests + measurement.dropped, 5u);
}

TEST_F(RunnerTest, TheWarmUpIsNotMeasured) {
  const Measurement measurement =
      Run({.arrivals = kTenPerSecond, .warmup = absl::Seconds(1), .duration = absl::Seconds(2)});
  EXPECT_EQ(server_.sent, 30);
  EXPECT_EQ(measurement.warmup_requests, 10u);
  EXPECT_EQ(measurement.all.requests, 20u);
  EXPECT_NEAR(measurement.Seconds(), 2, 1e-9);
}

TEST_F(RunnerTest, AStopSendsNothingMoreAndCountsNothingThatItCancelled) {
  Runner runner({.concurrency = 4, .duration = absl::Hours(1)}, &traffic_, &server_, &server_);
  server_.At(absl::Milliseconds(250), [&runner] { runner.Stop(); });
  const Measurement measurement = runner.Run([](const Runner::Progress&) {});
  EXPECT_EQ(measurement.all.requests, 8u);
  EXPECT_EQ(measurement.abandoned, 4u);
  EXPECT_EQ(measurement.all.ErrorSum(), 0u);
  EXPECT_EQ(server_.sent, 12);
}

TEST_F(RunnerTest, AServerThatRefusesAtOnceIsNotStormed) {
  server_.service = absl::ZeroDuration();
  server_.answer = absl::ResourceExhaustedError("queue full");
  const Measurement measurement = Run({.concurrency = 1, .duration = absl::Seconds(1)});
  EXPECT_EQ(measurement.all.errors.at("RESOURCE_EXHAUSTED").count, measurement.all.requests);
  EXPECT_EQ(measurement.all.requests, 100u);
  EXPECT_EQ(measurement.ErrorRatio(), 1);
}

}  // namespace
}  // namespace olmoe::client::bench
