#include "server/completions/admission_line.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/util/status_details.h"

namespace olmoe::completions {
namespace {

using ::testing::ElementsAre;

// Notes who enters, in which order. Thread-safe.
class Log {
 public:
  void Add(const std::string& name) {
    absl::MutexLock lock(&mu_);
    names_.push_back(name);
  }
  std::vector<std::string> Await(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return names_.size() >= count; };
    mu_.Await(absl::Condition(&enough));
    return names_;
  }

 private:
  absl::Mutex mu_;
  std::vector<std::string> names_ ABSL_GUARDED_BY(mu_);
};

struct Visitor : AdmissionLine::Waiter {
  Visitor(std::string name, Log* log) : name(std::move(name)), log(log) {}

  bool TryEnter() override {
    ++tries;
    if (!may_enter) return false;
    log->Add(name);
    return true;
  }
  absl::Time WaitsUntil() const override { return deadline; }
  void OnTurnedAway(const absl::Status& status) override {
    log->Add(name + " " + absl::StatusCodeToString(status.code()));
  }

  const std::string name;
  Log* const log;
  absl::Time deadline = absl::InfiniteFuture();
  std::atomic<bool> may_enter = false;
  std::atomic<int> tries = 0;
};

class AdmissionLineTest : public ::testing::Test {
 protected:
  std::shared_ptr<Visitor> Join(const std::string& client, const std::string& name,
                                bool may_enter = false,
                                absl::Time deadline = absl::InfiniteFuture()) {
    auto visitor = std::make_shared<Visitor>(name, &log_);
    visitor->may_enter = may_enter;
    visitor->deadline = deadline;
    tickets_.push_back(line_.TakeTicket());
    EXPECT_TRUE(line_.Join(visitor, {client, tickets_.back()}, false).ok());
    return visitor;
  }
  static void AwaitTries(const Visitor& visitor, int tries) {
    while (visitor.tries < tries) absl::SleepFor(absl::Milliseconds(1));
  }

  Log log_;
  AdmissionLine line_{{.max_places = 4, .max_waiting = 5}};
  std::vector<uint64_t> tickets_;
};

TEST_F(AdmissionLineTest, OfAClientWhoCameFirstEntersFirst) {
  const auto first = Join("a", "first");
  AwaitTries(*first, 1);
  Join("a", "second", true);
  Join("a", "third", true);
  EXPECT_EQ(line_.num_waiting(), 3);
  first->may_enter = true;
  line_.Wake();
  EXPECT_THAT(log_.Await(3), ElementsAre("first", "second", "third"));
}

TEST_F(AdmissionLineTest, OneClientsWaitHoldsUpNoOther) {
  const auto first = Join("a", "first");
  AwaitTries(*first, 1);
  Join("a", "second", true);
  Join("b", "other", true);
  EXPECT_THAT(log_.Await(1), ElementsAre("other"));
  while (line_.num_waiting() > 2) absl::SleepFor(absl::Milliseconds(1));  // it is on its way out
  EXPECT_EQ(line_.num_waiting(), 2);
}

TEST_F(AdmissionLineTest, WhoComesBackStandsWhereItsTicketSays) {
  const auto first = Join("a", "first", true);
  log_.Await(1);
  const auto second = Join("a", "second");
  AwaitTries(*second, 1);
  ASSERT_TRUE(line_.Join(first, {"a", tickets_[0]}, true).ok());
  second->may_enter = true;
  line_.Wake();
  EXPECT_THAT(log_.Await(3), ElementsAre("first", "first", "second"));
}

TEST_F(AdmissionLineTest, WhoHasWaitedTooLongIsTurnedAwayOnceItWasTried) {
  Join("a", "lucky", true, absl::InfinitePast());
  Join("a", "late", false, absl::Now());
  EXPECT_THAT(log_.Await(2), ElementsAre("lucky", "late RESOURCE_EXHAUSTED"));
}

TEST_F(AdmissionLineTest, NobodyIsAskedWhileNothingIsFreed) {
  const auto visitor = Join("a", "waits");
  AwaitTries(*visitor, 1);
  Join("b", "other", true);  // comes after it in every round
  log_.Await(1);
  const int tries = visitor->tries;
  Join("b", "last", true);
  log_.Await(2);
  EXPECT_LE(visitor->tries, tries + 1);
}

TEST_F(AdmissionLineTest, WhoLeavesIsGone) {
  const auto visitor = Join("a", "leaves");
  AwaitTries(*visitor, 1);
  while (!line_.Leave(tickets_[0])) absl::SleepFor(absl::Milliseconds(1));  // it is being tried
  EXPECT_FALSE(line_.Leave(tickets_[0]));
  EXPECT_EQ(line_.num_waiting(), 0);
}

TEST_F(AdmissionLineTest, TheLineIsBoundedButForThoseWithAPlace) {
  for (const char* name : {"1", "2", "3", "4", "5"}) AwaitTries(*Join("a", name), 0);
  while (line_.num_waiting() < 5) absl::SleepFor(absl::Milliseconds(1));
  const auto more = std::make_shared<Visitor>("more", &log_);
  const absl::Status refused = line_.Join(more, {"a", line_.TakeTicket()}, false);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(line_.Join(more, {"a", line_.TakeTicket()}, true).ok());
}

TEST_F(AdmissionLineTest, AQuarterOfThePlacesIsForOthers) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(line_.HasPlace("a"));
    line_.TakePlace("a");
    tickets_.push_back(line_.TakeTicket());
  }
  EXPECT_FALSE(line_.HasPlace("a"));
  EXPECT_TRUE(line_.HasPlace("b"));
  line_.TakePlace("b");
  EXPECT_FALSE(line_.HasPlace("c"));
  line_.ReturnTicket("a", true);
  EXPECT_TRUE(line_.HasPlace("a"));
  EXPECT_TRUE(line_.HasPlace("c"));
}

TEST_F(AdmissionLineTest, ShutTurnsAllAwayAndRefusesWhoComes) {
  AwaitTries(*Join("a", "waits"), 1);
  line_.Shut();
  EXPECT_THAT(log_.Await(1), ElementsAre("waits UNAVAILABLE"));
  const auto late = std::make_shared<Visitor>("late", &log_);
  EXPECT_EQ(line_.Join(late, {"a", line_.TakeTicket()}, false).code(),
            absl::StatusCode::kUnavailable);
  line_.Stop();
}

}  // namespace
}  // namespace olmoe::completions
