// Taps see the router logits of requests that never learn of it.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_requests.h"
#include "tests/engine/tiny_tokenizer.h"

namespace olmoe::engine {
namespace {

// What a tap was told. Thread-safe.
class Tapped {
 public:
  // Enough after `max_rows`.
  LogitTap Tap(int max_rows, std::vector<std::string> arm_ids = {}) {
    LogitTap tap;
    tap.arm_ids = std::move(arm_ids);
    tap.on_rows = [this, max_rows](std::span<const float> logits, int num_rows) {
      absl::MutexLock lock(&mu_);
      EXPECT_FALSE(status_.has_value()) << "rows after the end";
      EXPECT_EQ(logits.size() % num_rows, 0u);
      logits_.insert(logits_.end(), logits.begin(), logits.end());
      num_rows_ += num_rows;
      return num_rows_ < max_rows;
    };
    tap.on_done = [this](absl::Status status) {
      absl::MutexLock lock(&mu_);
      EXPECT_FALSE(status_.has_value()) << "a second end";
      status_ = std::move(status);
    };
    return tap;
  }
  absl::Status AwaitDone() {
    absl::MutexLock lock(&mu_);
    const auto done = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return status_.has_value(); };
    mu_.Await(absl::Condition(&done));
    return *status_;
  }
  bool done() const {
    absl::MutexLock lock(&mu_);
    return status_.has_value();
  }
  int num_rows() const {
    absl::MutexLock lock(&mu_);
    return num_rows_;
  }
  std::vector<float> logits() const {
    absl::MutexLock lock(&mu_);
    return logits_;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<float> logits_ ABSL_GUARDED_BY(mu_);
  int num_rows_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mu_);
};

TEST(LogitTapTest, SeesTheRowsThatTheTraceOfTheRequestHas) {
  Harness harness;
  Request traced = harness.Generate(Range(1, 1), 1);
  std::get<GenerateWork>(traced.work).trace.logits = true;
  const Reply expected = harness.Run(std::move(traced));
  Tapped tapped;
  const TapHandle handle = *harness.engine->Tap(tapped.Tap(1 << 20));
  EXPECT_EQ(Fingerprint(harness.Run(harness.Generate(Range(1, 1), 1))),
            Fingerprint(harness.Run(harness.Generate(Range(1, 1), 1))));
  harness.engine->Untap(handle, absl::CancelledError("enough"));
  EXPECT_EQ(tapped.AwaitDone().code(), absl::StatusCode::kCancelled);
  ASSERT_EQ(tapped.num_rows(), 2);
  // One position: [layers][1][experts] is [1][layers][experts].
  std::vector<float> twice = expected.trace.logits;
  twice.insert(twice.end(), expected.trace.logits.begin(), expected.trace.logits.end());
  EXPECT_EQ(tapped.logits(), twice);
}

TEST(LogitTapTest, EndsWithTheFirstRowsThatAreEnough) {
  Harness harness;
  Tapped tapped;
  ASSERT_TRUE(harness.engine->Tap(tapped.Tap(5)).ok());
  harness.Run(harness.Generate(Range(1, 3), 1));  // 3 rows
  EXPECT_FALSE(tapped.done());
  harness.Run(harness.Generate(Range(1, 1), 9));  // one row a step
  EXPECT_TRUE(tapped.AwaitDone().ok());
  EXPECT_EQ(tapped.num_rows(), 5);
}

TEST(LogitTapTest, SeesPrefillDecodeAndScoreOfItsArmsOnly) {
  Harness harness;
  Tapped two, all;
  ASSERT_TRUE(harness.engine->Tap(two.Tap(1 << 20, {"k2", "k3"})).ok());
  ASSERT_TRUE(harness.engine->Tap(all.Tap(1 << 20)).ok());
  harness.Run(harness.Generate(Range(1, 10), 3, /*k=*/1));
  harness.Run(harness.Generate(Range(1, 10), 3, /*k=*/2));              // 10 + 2 rows
  harness.Run(harness.Score({{Range(1, 8), 2}, {Range(1, 4), 1}}, 3));  // 7 + 3 rows
  harness.engine->Drain(absl::InfiniteFuture());
  EXPECT_EQ(two.num_rows(), 22);
  EXPECT_EQ(all.num_rows(), 34);
}

TEST(LogitTapTest, RowsThatCouldNotBeRoutedAreLeftOut) {
  Harness harness({.model = {.nan_token = 5}});
  Tapped tapped;
  ASSERT_TRUE(harness.engine->Tap(tapped.Tap(1 << 20)).ok());
  EXPECT_FALSE(harness.Run(harness.Generate({1, 5, 2}, 1)).completion.status.ok());
  harness.Run(harness.Generate({1, 2}, 1));
  harness.engine->Drain(absl::InfiniteFuture());
  EXPECT_EQ(tapped.num_rows(), 2);
}

TEST(LogitTapTest, ADeadlineEndsItWhileTheEngineIsIdle) {
  Harness harness;
  Tapped tapped;
  LogitTap tap = tapped.Tap(1);
  tap.deadline = harness.clock.Now() + absl::Seconds(5);
  ASSERT_TRUE(harness.engine->Tap(std::move(tap)).ok());
  harness.clock.Advance(absl::Seconds(5));
  harness.engine->Untap(/*unknown=*/999, absl::CancelledError(""));  // so that it looks
  EXPECT_EQ(tapped.AwaitDone().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(LogitTapTest, DrainEndsItAtOnceAndTakesNoNewOne) {
  Harness harness;
  Tapped tapped, refused;
  ASSERT_TRUE(harness.engine->Tap(tapped.Tap(1)).ok());
  EXPECT_EQ(harness.engine->Drain(absl::InfiniteFuture()), 0);
  EXPECT_TRUE(tapped.done()) << "Drain waits for the end of taps";
  EXPECT_EQ(tapped.AwaitDone().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(harness.engine->Tap(refused.Tap(1)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(refused.done());
}

TEST(LogitTapTest, TheEndOfTheEngineEndsIt) {
  Tapped tapped;
  {
    Harness harness;
    ASSERT_TRUE(harness.engine->Tap(tapped.Tap(1)).ok());
  }
  EXPECT_TRUE(tapped.done());
  EXPECT_EQ(tapped.AwaitDone().code(), absl::StatusCode::kUnavailable);
}

TEST(LogitTapTest, AnotherTapMayBeginWhereOneEnds) {
  Harness harness;
  Tapped first, second;
  LogitTap tap = first.Tap(1);
  tap.on_done = [&, on_done = tap.on_done](absl::Status status) {
    EXPECT_TRUE(harness.engine->Tap(second.Tap(1)).ok());
    on_done(std::move(status));
  };
  ASSERT_TRUE(harness.engine->Tap(std::move(tap)).ok());
  harness.Run(harness.Generate({1}, 4));
  EXPECT_TRUE(first.AwaitDone().ok());
  EXPECT_TRUE(second.AwaitDone().ok());
  EXPECT_EQ(second.num_rows(), 1);
}

TEST(LogitTapTest, RepliesAreTheSameWithAndWithoutTaps) {
  const auto tokenizer = MakeTinyTokenizer();
  const testing::FakeModelOptions model = {.vocab_size = kTinyVocabSize};
  const std::vector<Specimen> specimens = RandomSpecimens(100, /*seed=*/7, model, tokenizer.get());
  Harness harness({.model = model, .tokenizer = tokenizer.get()});
  Tapped some, all;
  ASSERT_TRUE(harness.engine->Tap(some.Tap(1 << 30, {"k1"})).ok());
  ASSERT_TRUE(harness.engine->Tap(all.Tap(700)).ok());
  std::vector<Submitted> running;
  for (const Specimen& specimen : specimens) {
    running.push_back(harness.Submit(harness.MakeRequest(specimen.work, specimen.k)));
  }
  for (size_t i = 0; i < specimens.size(); ++i) {
    EXPECT_EQ(Fingerprint(running[i].sink->AwaitDone()), Fingerprint(specimens[i].solo));
  }
  EXPECT_TRUE(all.AwaitDone().ok());
  EXPECT_GE(all.num_rows(), 700);
  EXPECT_GT(some.num_rows(), 0);
  harness.engine->Drain(absl::InfiniteFuture());
}

}  // namespace
}  // namespace olmoe::engine
