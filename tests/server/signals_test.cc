#include "server/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace olmoe {
namespace {

using ::testing::ExitedWithCode;

// A process has its signals once: each test is a process of its own.
class SignalsDeathTest : public ::testing::Test {
 protected:
  SignalsDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

[[noreturn]] void WaitForEver() {
  while (true) pause();
}

TEST_F(SignalsDeathTest, BeforeTheServerServesASignalEndsItWithALine) {
  EXPECT_EXIT(
      {
        new Signals;
        raise(SIGTERM);
        WaitForEver();
      },
      ExitedWithCode(128 + SIGTERM), "SIGTERM before the server serves");
}

TEST_F(SignalsDeathTest, TheFirstIsToldAndTheSecondEndsItWithALineAfterTheOthers) {
  EXPECT_EXIT(
      {
        auto* signals = new Signals;
        signals->SetFlushLog([] { std::fputs("<all lines>\n", stderr); });
        signals->StartServing([] {});
        raise(SIGTERM);
        signals->WaitForSignal();
        raise(SIGINT);
        WaitForEver();
      },
      ExitedWithCode(128 + SIGINT), "SIGINT again: ends at once.*\n.*<all lines>");
}

TEST_F(SignalsDeathTest, AHangupIsKeptUntilTheServerServes) {
  EXPECT_EXIT(
      {
        auto* signals = new Signals;
        raise(SIGHUP);
        absl::Notification called;
        signals->StartServing([&] { called.Notify(); });
        called.WaitForNotification();
        signals->StopServing();
        raise(SIGHUP);  // a second call would end the process otherwise
        raise(SIGTERM);
        signals->WaitForSignal();
        _exit(0);
      },
      ExitedWithCode(0), "");
}

TEST_F(SignalsDeathTest, AReloadThatNeverEndsHoldsUpNoSignal) {
  EXPECT_EXIT(
      {
        auto* signals = new Signals;
        absl::Notification begun;
        absl::Notification never;
        Reloader reloader([&] {
          begun.Notify();
          never.WaitForNotification();
        });
        signals->StartServing([&] { reloader.Request(); });
        raise(SIGHUP);
        begun.WaitForNotification();
        raise(SIGHUP);
        raise(SIGTERM);
        signals->WaitForSignal();
        reloader.Stop();
        signals->StopServing();
        _exit(0);
      },
      ExitedWithCode(0), "");
}

TEST(ReloaderTest, RequestsDuringARunBecomeOneMoreRun) {
  std::atomic<int> runs = 0;
  absl::Notification first, go_on, second;
  Reloader reloader([&] {
    if (++runs == 1) {
      first.Notify();
      go_on.WaitForNotification();
    } else if (runs == 2) {
      second.Notify();
    }
  });
  reloader.Request();
  first.WaitForNotification();
  for (int i = 0; i < 10; ++i) reloader.Request();
  EXPECT_EQ(runs, 1);
  go_on.Notify();
  second.WaitForNotification();
  reloader.Stop();
  EXPECT_EQ(runs, 2);
}

TEST(ReloaderTest, StopDoesNotWaitAndTheDestructorDoes) {
  std::atomic<int> runs = 0;
  absl::Notification begun, go_on;
  {
    Reloader reloader([&] {
      begun.Notify();
      go_on.WaitForNotification();
      ++runs;
    });
    reloader.Request();
    begun.WaitForNotification();
    reloader.Request();
    reloader.Stop();
    EXPECT_EQ(runs, 0);
    go_on.Notify();
  }
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace olmoe
