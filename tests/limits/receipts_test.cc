#include "server/limits/receipts.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::limits {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kMessage = 100;
constexpr absl::Duration kPatience = absl::Seconds(1);

// Keeps what happens to all receivers in one list.
class Receiver final : public Receipts::Receiver {
 public:
  Receiver(std::string name, RequestMemory* memory, const std::string& client,
           std::vector<std::string>* events)
      : name_(std::move(name)), hold_(memory->Open(client)), events_(events) {}
  void OnTurn() override { events_->push_back(name_); }
  void OnDropped(absl::Status status) override {
    EXPECT_TRUE(absl::IsResourceExhausted(status));
    events_->push_back(name_ + " dropped");
  }
  RequestMemory::Hold& hold() { return hold_; }

 private:
  const std::string name_;
  RequestMemory::Hold hold_;
  std::vector<std::string>* const events_;
};

class ReceiptsTest : public ::testing::Test {
 protected:
  std::shared_ptr<Receiver> Ask(const std::string& name, const std::string& client,
                                bool refuse = true, absl::Duration patience = kPatience) {
    auto receiver = std::make_shared<Receiver>(name, &memory_, client, &events_);
    receipts_.Ask(
        receiver,
        {.client = client, .hold = &receiver->hold(), .patience = patience, .refuse = refuse});
    return receiver;
  }
  // What has happened since the last call.
  std::vector<std::string> Events() { return std::exchange(events_, {}); }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  RequestMemory memory_{3 * kMessage};
  Receipts receipts_{
      {.max_message_bytes = kMessage, .reserve_bytes = 0, .now = [this] { return now_; }}};
  std::vector<std::string> events_;
};

TEST_F(ReceiptsTest, ATurnHoldsTheLargestMessageAndThenWhatCame) {
  const auto a = Ask("a", "");
  EXPECT_THAT(Events(), ElementsAre("a"));
  EXPECT_EQ(a->hold().bytes(), kMessage);
  EXPECT_TRUE(receipts_.Received(a.get(), 7));
  EXPECT_EQ(a->hold().bytes(), 7);
  EXPECT_FALSE(receipts_.Received(a.get(), 7)) << "once";
}

TEST_F(ReceiptsTest, WhoFindsNoTurnWaitsForOne) {
  const auto a = Ask("a", ""), b = Ask("b", ""), c = Ask("c", "");
  const auto d = Ask("d", ""), e = Ask("e", "");
  EXPECT_THAT(Events(), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(receipts_.anybody_waits());
  receipts_.Received(b.get(), 0);
  EXPECT_THAT(Events(), ElementsAre("e")) << "the newest";
  receipts_.Received(e.get(), 0);
  EXPECT_THAT(Events(), ElementsAre("d"));
  EXPECT_FALSE(receipts_.anybody_waits());
}

TEST_F(ReceiptsTest, ClientsTakeTurns) {
  RequestMemory::Hold others = memory_.Open("others");
  ASSERT_TRUE(others.Resize(2 * kMessage).ok());
  const auto a1 = Ask("a1", "a"), a2 = Ask("a2", "a"), a3 = Ask("a3", "a");
  const auto b1 = Ask("b1", "b");
  EXPECT_THAT(Events(), ElementsAre("a1"));
  receipts_.Received(a1.get(), 0);
  EXPECT_THAT(Events(), ElementsAre("a3"));
  receipts_.Received(a3.get(), 0);
  EXPECT_THAT(Events(), ElementsAre("b1"));
  receipts_.Received(b1.get(), 0);
  EXPECT_THAT(Events(), ElementsAre("a2"));
}

TEST_F(ReceiptsTest, WhereMemoryIsInUseOtherwiseACallIsRefusedAtOnce) {
  RequestMemory::Hold others = memory_.Open("others");
  ASSERT_TRUE(others.Resize(2 * kMessage + 1).ok());
  Ask("a", "a");
  EXPECT_THAT(Events(), ElementsAre("a dropped"));
  EXPECT_FALSE(receipts_.anybody_waits());
}

TEST_F(ReceiptsTest, AStreamWaitsForMemoryInstead) {
  RequestMemory::Hold others = memory_.Open("others");
  ASSERT_TRUE(others.Resize(2 * kMessage + 1).ok());
  Ask("a", "a", /*refuse=*/false);
  EXPECT_THAT(Events(), IsEmpty());
  others = {};
  receipts_.Pump();
  EXPECT_THAT(Events(), ElementsAre("a"));
}

TEST_F(ReceiptsTest, AMessageThatTakesLongGivesWayOnlyToThoseWhoWait) {
  const auto a = Ask("a", ""), b = Ask("b", ""), c = Ask("c", "");
  now_ += 10 * kPatience;
  receipts_.Pump();
  EXPECT_THAT(Events(), ElementsAre("a", "b", "c"));
  const auto d = Ask("d", "");
  EXPECT_THAT(Events(), ElementsAre("a dropped", "b dropped", "c dropped"));
  EXPECT_FALSE(receipts_.Received(a.get(), 5)) << "it lost its turn";
  receipts_.Pump();
  EXPECT_THAT(Events(), IsEmpty()) << "nobody has given memory back";
  a->hold() = {};
  receipts_.Close(a.get());
  EXPECT_THAT(Events(), ElementsAre("d"));
}

TEST_F(ReceiptsTest, OneThatIsWithinItsPatienceKeepsItsTurn) {
  const auto a = Ask("a", ""), b = Ask("b", ""), c = Ask("c", "");
  now_ += kPatience;
  const auto d = Ask("d", "");
  EXPECT_THAT(Events(), ElementsAre("a", "b", "c"));
  now_ += absl::Milliseconds(1);
  receipts_.Pump();
  EXPECT_THAT(Events(), ElementsAre("a dropped", "b dropped", "c dropped"));
}

TEST_F(ReceiptsTest, WhoWithdrawsIsNotCalled) {
  const auto a = Ask("a", ""), b = Ask("b", ""), c = Ask("c", ""), d = Ask("d", "");
  Events();
  EXPECT_TRUE(receipts_.Withdraw(d.get()));
  EXPECT_FALSE(receipts_.Withdraw(d.get()));
  EXPECT_TRUE(receipts_.Withdraw(a.get()));
  EXPECT_FALSE(receipts_.Received(a.get(), 5));
  const auto e = Ask("e", "");
  EXPECT_THAT(Events(), IsEmpty());
  a->hold() = {};
  receipts_.Close(a.get());
  EXPECT_THAT(Events(), ElementsAre("e"));
}

TEST_F(ReceiptsTest, TurnsAreBoundedAlsoByTheirNumber) {
  RequestMemory memory(100 * kMessage);
  Receipts receipts({.max_message_bytes = kMessage, .max_turns = 2, .reserve_bytes = 0});
  std::vector<std::string> events;
  std::vector<std::shared_ptr<Receiver>> receivers;
  for (const char* name : {"a", "b", "c"}) {
    receivers.push_back(std::make_shared<Receiver>(name, &memory, "", &events));
    receipts.Ask(receivers.back(), {.client = "", .hold = &receivers.back()->hold()});
  }
  EXPECT_THAT(events, ElementsAre("a", "b"));
  receipts.Received(receivers[0].get(), 0);
  EXPECT_THAT(events, ElementsAre("a", "b", "c"));
  for (const auto& receiver : receivers) receipts.Withdraw(receiver.get());
}

TEST_F(ReceiptsTest, TurnsLeaveTheReserveFree) {
  RequestMemory memory(3 * kMessage);
  Receipts receipts({.max_message_bytes = kMessage, .reserve_bytes = kMessage});
  std::vector<std::string> events;
  std::vector<std::shared_ptr<Receiver>> receivers;
  for (const char* name : {"a", "b", "c"}) {
    receivers.push_back(std::make_shared<Receiver>(name, &memory, "", &events));
    receipts.Ask(receivers.back(), {.client = "", .hold = &receivers.back()->hold()});
  }
  EXPECT_THAT(events, ElementsAre("a", "b"));
  RequestMemory::Hold late = memory.Open("late");
  EXPECT_TRUE(late.Resize(kMessage).ok());
  for (const auto& receiver : receivers) receipts.Withdraw(receiver.get());
}

TEST_F(ReceiptsTest, OnceShutEverybodyIsDropped) {
  class Ended final : public Receipts::Receiver {
   public:
    void OnTurn() override { FAIL() << "no more turns"; }
    void OnDropped(absl::Status status) override { dropped = status; }
    absl::Status dropped;
  };
  RequestMemory::Hold hold = memory_.Open("late");
  receipts_.Shut();
  const auto late = std::make_shared<Ended>();
  receipts_.Ask(late, {.client = "late", .hold = &hold, .refuse = false});
  EXPECT_TRUE(absl::IsUnavailable(late->dropped));
}

TEST_F(ReceiptsTest, AClientBeyondItsShareDoesNotHoldUpOthers) {
  RequestMemory memory(8 * kMessage);
  std::vector<std::string> events;
  const auto greedy = std::make_shared<Receiver>("greedy", &memory, "a", &events);
  const auto other = std::make_shared<Receiver>("other", &memory, "b", &events);
  RequestMemory::Hold held = memory.Open("a");
  ASSERT_TRUE(held.Resize(6 * kMessage).ok());
  receipts_.Ask(greedy, {.client = "a", .hold = &greedy->hold(), .refuse = false});
  receipts_.Ask(other, {.client = "b", .hold = &other->hold()});
  EXPECT_THAT(events, ElementsAre("other"));
  EXPECT_TRUE(receipts_.Withdraw(greedy.get()));
  EXPECT_TRUE(receipts_.Received(other.get(), 0));
}

}  // namespace
}  // namespace olmoe::limits
