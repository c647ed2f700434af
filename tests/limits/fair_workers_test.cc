#include "server/limits/fair_workers.h"

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace olmoe::limits {
namespace {

using ::testing::ElementsAre;

// Work that holds its thread until it is told to end.
struct Held {
  absl::Notification began, may_end;

  void Start(FairWorkers* workers, const std::string& client) {
    workers->Run({.client = client,
                  .interrupt = {},
                  .run =
                      [this] {
                        began.Notify();
                        may_end.WaitForNotification();
                      },
                  .refuse = [](const absl::Status& status) { FAIL() << status; }});
    began.WaitForNotification();
  }
};

// Writes down what became of work, in order. Thread-safe.
class Record {
 public:
  FairWorkers::Work Work(const std::string& client, const std::string& name,
                         Interrupt interrupt = {}) {
    return {.client = client,
            .interrupt = interrupt,
            .run = [this, name] { Add(name); },
            .refuse =
                [this, name](const absl::Status& status) {
                  Add(name + " " + std::string(absl::StatusCodeToString(status.code())));
                }};
  }

  std::vector<std::string> events() const {
    absl::MutexLock lock(&mu_);
    return events_;
  }
  std::vector<std::string> WaitFor(size_t count) const {
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return events_.size() >= count; };
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(&enough));
    return events_;
  }

 private:
  void Add(std::string event) {
    absl::MutexLock lock(&mu_);
    events_.push_back(std::move(event));
  }

  mutable absl::Mutex mu_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mu_);
};

TEST(FairWorkersTest, ClientsTakeTurns) {
  Record record;
  FairWorkers workers({.threads = 1});
  Held held;
  held.Start(&workers, "a");
  for (const char* name : {"a1", "a2", "a3"}) workers.Run(record.Work("a", name));
  for (const char* name : {"b1", "b2"}) workers.Run(record.Work("b", name));
  workers.Run(record.Work("c", "c1"));
  held.may_end.Notify();
  EXPECT_THAT(record.WaitFor(6), ElementsAre("b1", "c1", "a1", "b2", "a2", "a3"));
}

TEST(FairWorkersTest, OneClientHasOneThreadAndLeavesTheOtherFree) {
  Record record;
  FairWorkers workers({.threads = 2});
  Held held;
  held.Start(&workers, "a");
  for (const char* name : {"a1", "a2"}) workers.Run(record.Work("a", name));
  for (const char* name : {"b1", "b2", "b3"}) workers.Run(record.Work("b", name));
  EXPECT_THAT(record.WaitFor(3), ElementsAre("b1", "b2", "b3"));
  held.may_end.Notify();
  EXPECT_THAT(record.WaitFor(5), ElementsAre("b1", "b2", "b3", "a1", "a2"));
}

TEST(FairWorkersTest, CancelledWorkLeavesTheQueueAtOnceAndFreesItsPlace) {
  Record record;
  FairWorkers workers({.threads = 1, .max_waiting = 2, .max_waiting_per_client = 1});
  Held held;
  held.Start(&workers, "a");
  std::stop_source stop;
  workers.Run(record.Work("a", "a1", {.stop = stop.get_token()}));
  stop.request_stop();
  EXPECT_THAT(record.events(), ElementsAre("a1 CANCELLED"));
  workers.Run(record.Work("a", "a2"));
  EXPECT_THAT(record.events(), ElementsAre("a1 CANCELLED"));
  held.may_end.Notify();
  EXPECT_THAT(record.WaitFor(2), ElementsAre("a1 CANCELLED", "a2"));
}

TEST(FairWorkersTest, ClientWhoseOnlyWorkIsCancelledLosesItsTurn) {
  Record record;
  FairWorkers workers({.threads = 1});
  Held held;
  held.Start(&workers, "a");
  std::stop_source stop;
  workers.Run(record.Work("b", "b1", {.stop = stop.get_token()}));
  workers.Run(record.Work("c", "c1"));
  stop.request_stop();
  workers.Run(record.Work("b", "b2"));
  held.may_end.Notify();
  EXPECT_THAT(record.WaitFor(3), ElementsAre("b1 CANCELLED", "c1", "b2"));
}

TEST(FairWorkersTest, WhatIsCancelledOrLateBeforehandIsRefusedAtOnce) {
  Record record;
  FairWorkers workers({.threads = 1});
  std::stop_source stop;
  stop.request_stop();
  workers.Run(record.Work("a", "a1", {.stop = stop.get_token()}));
  workers.Run(record.Work("a", "a2", {.stop = {}, .deadline = absl::Now() - absl::Seconds(1)}));
  EXPECT_THAT(record.events(), ElementsAre("a1 CANCELLED", "a2 DEADLINE_EXCEEDED"));
}

TEST(FairWorkersTest, WorkIsNotBegunAfterItsDeadline) {
  Record record;
  FairWorkers workers({.threads = 1});
  Held held;
  held.Start(&workers, "a");
  const absl::Time deadline = absl::Now() + absl::Milliseconds(200);
  workers.Run(record.Work("a", "a1", {.stop = {}, .deadline = deadline}));
  while (absl::Now() < deadline) absl::SleepFor(deadline - absl::Now());
  held.may_end.Notify();
  EXPECT_THAT(record.WaitFor(1), ElementsAre("a1 DEADLINE_EXCEEDED"));
}

TEST(FairWorkersTest, FullShareRefusesThatClientAlone) {
  Record record;
  FairWorkers workers({.threads = 1, .max_waiting = 3, .max_waiting_per_client = 2});
  Held held;
  held.Start(&workers, "a");
  for (const char* name : {"a1", "a2", "a3"}) workers.Run(record.Work("a", name));
  EXPECT_THAT(record.events(), ElementsAre("a3 RESOURCE_EXHAUSTED"));
  workers.Run(record.Work("b", "b1"));
  workers.Run(record.Work("c", "c1"));  // the whole queue is full now
  EXPECT_THAT(record.events(), ElementsAre("a3 RESOURCE_EXHAUSTED", "c1 RESOURCE_EXHAUSTED"));
  held.may_end.Notify();
  record.WaitFor(5);
}

TEST(FairWorkersTest, RefusalForLackOfRoomSaysWhenToComeAgain) {
  FairWorkers workers({.threads = 1, .max_waiting = 0});
  absl::Status refusal;
  workers.Run({.client = "a",
               .interrupt = {},
               .run = [] { FAIL(); },
               .refuse = [&](const absl::Status& status) { refusal = status; }});
  google::rpc::RetryInfo retry;
  const auto payload = refusal.GetPayload("type.googleapis.com/google.rpc.RetryInfo");
  ASSERT_TRUE(payload.has_value());
  ASSERT_TRUE(retry.ParseFromString(std::string(*payload)));
  EXPECT_GT(retry.retry_delay().seconds(), 0);
}

TEST(FairWorkersTest, DestructionRefusesWhatWaitsAndEndsWhatRuns) {
  Record record;
  Held held;
  auto workers = std::make_unique<FairWorkers>(FairWorkers::Options{.threads = 1});
  held.Start(workers.get(), "a");
  workers->Run(record.Work("a", "a1"));
  workers->Run(record.Work("b", "b1"));
  std::thread destroyer([&] { workers.reset(); });
  EXPECT_THAT(record.WaitFor(2), ElementsAre("a1 UNAVAILABLE", "b1 UNAVAILABLE"));
  held.may_end.Notify();
  destroyer.join();
}

TEST(FairWorkersTest, EachPieceOfWorkIsRunOrRefusedOnceWhateverHappensAtOnce) {
  constexpr int kClients = 4, kRounds = 500;
  std::atomic<int> outcomes = 0, twice = 0;
  {
    FairWorkers workers({.threads = 2, .max_waiting = 8, .max_waiting_per_client = 4});
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        for (int round = 0; round < kRounds; ++round) {
          std::stop_source stop;
          const auto calls = std::make_shared<std::atomic<int>>(0);
          const auto count = [&outcomes, &twice, calls] {
            ++outcomes;
            if (++*calls > 1) ++twice;
          };
          std::thread canceller;
          if (round % 2 == 0) canceller = std::thread([&stop] { stop.request_stop(); });
          workers.Run({.client = std::to_string(client),
                       .interrupt = {.stop = stop.get_token()},
                       .run = count,
                       .refuse = [count](const absl::Status&) { count(); }});
          if (canceller.joinable()) canceller.join();
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }
  EXPECT_EQ(outcomes, kClients * kRounds);
  EXPECT_EQ(twice, 0);
}

}  // namespace
}  // namespace olmoe::limits
