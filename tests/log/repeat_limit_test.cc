#include "server/log/repeat_limit.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::log {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kPeriod = absl::Seconds(10);
const absl::Time kStart = absl::FromUnixSeconds(1'000);

TEST(RepeatLimitTest, TheFirstOfEachKindInEachPeriodPassAndTheRestIsCounted) {
  RepeatLimit limit({.max_per_period = 2, .period = kPeriod});
  for (const bool passes : {true, true, false, false, false}) {
    EXPECT_EQ(limit.Allow("a", kStart), passes);
  }
  EXPECT_TRUE(limit.Allow("b", kStart)) << "kinds do not disturb each other";
  EXPECT_THAT(limit.TakeOver(kStart + kPeriod - absl::Nanoseconds(1)), IsEmpty());
  EXPECT_THAT(limit.TakeOver(kStart + kPeriod), UnorderedElementsAre(Pair("a", 3)));
  EXPECT_THAT(limit.TakeOver(kStart + kPeriod), IsEmpty());
  EXPECT_TRUE(limit.Allow("a", kStart + kPeriod));
}

TEST(RepeatLimitTest, APeriodBeginsWithTheFirstEventOfItsKind) {
  RepeatLimit limit({.max_per_period = 1, .period = kPeriod});
  EXPECT_TRUE(limit.Allow("a", kStart));
  EXPECT_TRUE(limit.Allow("b", kStart + kPeriod / 2));
  EXPECT_FALSE(limit.Allow("b", kStart + kPeriod));
  EXPECT_THAT(limit.TakeOver(kStart + kPeriod), IsEmpty());
  EXPECT_FALSE(limit.Allow("b", kStart + kPeriod));
  EXPECT_THAT(limit.TakeOver(kStart + kPeriod + kPeriod / 2), UnorderedElementsAre(Pair("b", 2)));
}

TEST(RepeatLimitTest, AllIsOverInTheEnd) {
  RepeatLimit limit({.max_per_period = 1, .period = kPeriod});
  for (const char* key : {"a", "a", "b", "b", "b", "c"}) limit.Allow(key, kStart);
  EXPECT_THAT(limit.TakeOver(absl::InfiniteFuture()),
              UnorderedElementsAre(Pair("a", 1), Pair("b", 2)));
}

}  // namespace
}  // namespace olmoe::log
