#include "server/ops/cpu/compute_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <thread>
#include <vector>

#include "tests/support/thread_limit.h"

namespace olmoe::ops {
namespace {

// Every task writes what only it may write, without any lock: a task that ran twice, or
// whose end the caller did not wait for, shows, under ThreadSanitizer as a race.
TEST(ComputePool, EveryTaskRunsOnceAndIsSeenByTheCaller) {
  ComputePool pool(4);
  EXPECT_EQ(pool.threads(), 4);
  std::vector<int> runs(1000, 0);
  for (int phase = 1; phase <= 300; ++phase) {
    const int n = 1 + (phase * 37) % 1000;
    for (int& run : runs) run = 0;
    pool.Run(n, [&](int i) { runs[static_cast<size_t>(i)] += phase; });
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(runs[static_cast<size_t>(i)], i < n ? phase : 0);
  }
}

TEST(ComputePool, PhasesFollowEachOtherFasterThanWorkersWake) {
  ComputePool pool(3);
  std::vector<int> value(8, 0);
  for (int phase = 0; phase < 20000; ++phase) {
    pool.Run(8, [&](int i) { value[static_cast<size_t>(i)] += i; });
  }
  for (int i = 0; i < 8; ++i) EXPECT_EQ(value[static_cast<size_t>(i)], 20000 * i);
}

TEST(ComputePool, AWorkerIsInOneTaskAtATime) {
  constexpr int kThreads = 4;
  ComputePool pool(kThreads);
  std::vector<int> tasks_of(kThreads, 0);  // without a lock: one of each worker at a time
  for (int phase = 0; phase < 100; ++phase) {
    pool.Run(64, [&](int, int worker) { ++tasks_of[static_cast<size_t>(worker)]; });
  }
  int sum = 0;
  for (const int tasks : tasks_of) sum += tasks;
  EXPECT_EQ(sum, 6400);
}

TEST(ComputePool, OneThreadIsTheCallerInOrder) {
  ComputePool pool(1);
  std::vector<int> order;
  pool.Run(4, [&](int i) { order.push_back(i); });
  pool.Run(0, [&](int i) { order.push_back(i); });
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3));
}

TEST(ComputePoolDeathTest, WhereThereAreNoMoreThreadsItThrowsAndEndsThoseThatThereAre) {
  if (!testing::kThreadsCanFail) GTEST_SKIP();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(testing::ExitWhereThreadsEnd(5, [] { ComputePool pool(64); }),
              ::testing::ExitedWithCode(0), "");
}

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + 1e-6 * double(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ComputePool, WorkersSleepWhenThereIsNothingToDoAndWakeForTheNextPhase) {
  ComputePool pool(3);
  for (int round = 0; round < 3; ++round) {
    std::vector<int> runs(50, 0);
    pool.Run(50, [&](int i) { ++runs[static_cast<size_t>(i)]; });
    EXPECT_THAT(runs, ::testing::Each(1));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (pool.sleeping_for_testing() < 2) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "a worker spins on";
      std::this_thread::yield();
    }
  }
  const double before = CpuSeconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(CpuSeconds() - before, 0.02) << "idle workers take the CPU";
}

TEST(ComputePool, EndsWhetherItsWorkersSpinOrSleep) {
  for (int i = 0; i < 50; ++i) {
    ComputePool pool(4);
    if (i % 2 == 0) pool.Run(16, [](int) {});
  }
}

}  // namespace
}  // namespace olmoe::ops
