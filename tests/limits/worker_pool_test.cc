#include "server/limits/worker_pool.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "tests/support/thread_limit.h"

namespace olmoe::limits {
namespace {

TEST(WorkerPoolTest, OneThatWaitsDoesNotHoldUpAnother) {
  WorkerPool pool(2);
  absl::Notification first_may_end, second_ran;
  pool.Run([&] { first_may_end.WaitForNotification(); });
  pool.Run([&] { second_ran.Notify(); });
  second_ran.WaitForNotification();
  first_may_end.Notify();
}

TEST(WorkerPoolTest, DestructionFinishesWhatIsQueued) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(1);
    for (int i = 0; i < 100; ++i) pool.Run([&] { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

TEST(WorkerPoolDeathTest, WhereThereAreNoMoreThreadsItThrowsAndEndsThoseThatThereAre) {
  if (!testing::kThreadsCanFail) GTEST_SKIP();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(testing::ExitWhereThreadsEnd(3, [] { WorkerPool pool(64); }),
              ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace olmoe::limits
