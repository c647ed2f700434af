#include "server/routing/alarm.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/routing/listeners.h"

namespace olmoe::routing {
namespace {

TEST(AlarmTest, RingsAtATimeThatIsPast) {
  absl::Notification rung;
  Alarm alarm([&rung] { rung.Notify(); });
  alarm.Set(absl::InfinitePast());
  rung.WaitForNotification();
}

TEST(AlarmTest, RingsNotBeforeItsTime) {
  absl::Notification rung;
  Alarm alarm([&rung] { rung.Notify(); });
  const absl::Time time = absl::Now() + absl::Milliseconds(20);
  alarm.Set(time);
  rung.WaitForNotification();
  EXPECT_GE(absl::Now(), time);
}

TEST(AlarmTest, ALaterSetReplacesTheTime) {
  std::atomic<int> rings = 0;
  absl::Notification rung;
  Alarm alarm([&] {
    ++rings;
    rung.Notify();
  });
  alarm.Set(absl::Now() + absl::Hours(1));
  alarm.Set(absl::InfiniteFuture());
  alarm.Set(absl::Now());
  rung.WaitForNotification();
  EXPECT_EQ(rings, 1);
}

TEST(AlarmTest, MayBeSetAgainByItsOwnFunction) {
  std::atomic<int> rings = 0;
  absl::Notification third;
  Alarm* again = nullptr;
  absl::Notification made;
  Alarm alarm([&] {
    made.WaitForNotification();
    if (++rings == 3) {
      third.Notify();
    } else {
      again->Set(absl::Now());
    }
  });
  again = &alarm;
  made.Notify();
  alarm.Set(absl::Now());
  third.WaitForNotification();
  EXPECT_EQ(rings, 3);
}

TEST(AlarmTest, DestructionDoesNotWaitForTheTime) {
  Alarm alarm([] { FAIL() << "it rang"; });
  alarm.Set(absl::Now() + absl::Hours(1));
}

TEST(ListenersTest, AllAreCalledUntilTheyAreRemoved) {
  Listeners listeners;
  int first = 0, second = 0;
  listeners.Notify();
  const uint64_t id = listeners.Add([&first] { ++first; });
  listeners.Add([&second] { ++second; });
  listeners.Notify();
  listeners.Remove(id);
  listeners.Remove(id);
  listeners.Notify();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 2);
}

TEST(ListenersTest, OneMayRemoveItselfAndAddAnother) {
  Listeners listeners;
  int calls = 0;
  uint64_t id = 0;
  id = listeners.Add([&] {
    ++calls;
    listeners.Remove(id);
    listeners.Add([&calls] { calls += 10; });
  });
  listeners.Notify();
  EXPECT_EQ(calls, 1);
  listeners.Notify();
  EXPECT_EQ(calls, 11);
}

}  // namespace
}  // namespace olmoe::routing
