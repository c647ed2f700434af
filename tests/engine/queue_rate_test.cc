#include "server/engine/queue_rate.h"

#include "gtest/gtest.h"

namespace olmoe::engine {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000);

TEST(QueueRateTest, WaitIsRequestsTimesTimePerDeparture) {
  QueueRate rate;
  rate.OnBusy(kStart);
  absl::Time now = kStart;
  for (int i = 0; i < 5; ++i) rate.OnDeparture(now += absl::Seconds(2));
  EXPECT_EQ(rate.TimeToServe(3, now), absl::Seconds(6));
}

TEST(QueueRateTest, OnlyTheLastDeparturesCount) {
  QueueRate rate;
  rate.OnBusy(kStart);
  absl::Time now = kStart;
  for (int i = 0; i < 100; ++i) rate.OnDeparture(now += absl::Seconds(50));
  for (int i = 0; i < 32; ++i) rate.OnDeparture(now += absl::Seconds(1));
  EXPECT_EQ(rate.TimeToServe(10, now), absl::Seconds(10));
}

TEST(QueueRateTest, AStallMakesTheAnswerLonger) {
  QueueRate rate;
  rate.OnBusy(kStart);
  rate.OnDeparture(kStart + absl::Seconds(1));
  EXPECT_EQ(rate.TimeToServe(1, kStart + absl::Seconds(1)), absl::Seconds(1));
  EXPECT_EQ(rate.TimeToServe(1, kStart + absl::Seconds(20)), absl::Seconds(20));
}

TEST(QueueRateTest, IdleTimeDoesNotCount) {
  QueueRate rate;
  rate.OnBusy(kStart);
  rate.OnDeparture(kStart + absl::Seconds(3));
  const absl::Time later = kStart + absl::Hours(5);
  rate.OnBusy(later);
  EXPECT_EQ(rate.TimeToServe(2, later), absl::Seconds(6)) << "the rate of the busy period before";
  rate.OnDeparture(later + absl::Seconds(1));
  EXPECT_EQ(rate.TimeToServe(2, later + absl::Seconds(1)), absl::Seconds(2));
}

TEST(QueueRateTest, AnswerStaysWithinItsBounds) {
  QueueRate rate;
  rate.OnBusy(kStart);
  EXPECT_EQ(rate.TimeToServe(256, kStart), absl::Milliseconds(50)) << "nothing known yet";
  rate.OnDeparture(kStart + absl::Hours(1));
  EXPECT_EQ(rate.TimeToServe(256, kStart + absl::Hours(1)), absl::Minutes(1));
}

}  // namespace
}  // namespace olmoe::engine
