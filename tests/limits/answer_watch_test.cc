#include "server/limits/answer_watch.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::limits {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Writer final : public AnswerWatch::Writer {
 public:
  void OnUnread(bool again) override { told.push_back(again); }
  std::vector<bool> told;
};

class AnswerWatchTest : public ::testing::Test {
 protected:
  absl::Time now_ = absl::UnixEpoch();
  AnswerWatch watch_{{.timeout = absl::Seconds(30),
                      .bytes_per_second = 1000,
                      .grace = absl::Seconds(3),
                      .now = [this] { return now_; }}};
};

TEST_F(AnswerWatchTest, AnAnswerHasTimeForItsSize) {
  const auto small = std::make_shared<Writer>(), large = std::make_shared<Writer>();
  watch_.Begin(small, 0);
  watch_.Begin(large, 10'000);
  now_ += absl::Seconds(29);
  watch_.Tick();
  EXPECT_THAT(small->told, IsEmpty());
  now_ += absl::Seconds(1);
  watch_.Tick();
  EXPECT_THAT(small->told, ElementsAre(false));
  EXPECT_THAT(large->told, IsEmpty());
  now_ += absl::Seconds(10);
  watch_.Tick();
  EXPECT_THAT(large->told, ElementsAre(false));
}

TEST_F(AnswerWatchTest, OneThatDoesNotEndIsToldAgainAfterTheGrace) {
  const auto writer = std::make_shared<Writer>();
  watch_.Begin(writer, 0);
  now_ += absl::Seconds(30);
  watch_.Tick();
  watch_.Tick();
  EXPECT_THAT(writer->told, ElementsAre(false));
  now_ += absl::Seconds(3);
  watch_.Tick();
  EXPECT_THAT(writer->told, ElementsAre(false, true));
}

TEST_F(AnswerWatchTest, WhatIsWrittenIsForgottenAndTheNextHasTimeOfItsOwn) {
  const auto writer = std::make_shared<Writer>();
  watch_.Begin(writer, 0);
  now_ += absl::Seconds(20);
  watch_.End(writer.get());
  EXPECT_TRUE(watch_.empty());
  EXPECT_EQ(writer.use_count(), 1);
  watch_.Begin(writer, 0);
  now_ += absl::Seconds(20);
  watch_.Tick();
  EXPECT_THAT(writer->told, IsEmpty());
}

}  // namespace
}  // namespace olmoe::limits
