#include "server/http/connection_table.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace olmoe::http {
namespace {

using std::chrono::milliseconds;

class FakeMember : public ConnectionTable::Member {
 public:
  bool closed() const { return closed_; }

 private:
  void Close() override { closed_ = true; }
  bool closed_ = false;
};

Body BodyOf(size_t bytes) { return std::make_shared<const std::string>(bytes, 'x'); }

class ConnectionTableTest : public ::testing::Test {
 protected:
  // In the table, in `phase`.
  FakeMember& Add(Phase phase, const std::string& client = "a") {
    FakeMember& member = *members_.emplace_back(std::make_unique<FakeMember>());
    EXPECT_TRUE(table_.Admit(&member, client));
    table_.Begin(&member, phase);
    return member;
  }

  ConnectionTable table_{{.max_connections = 3,
                          .max_connections_per_client = 2,
                          .max_request_bytes = 100,
                          .max_unread_bytes = 100}};
  std::vector<std::unique_ptr<FakeMember>> members_;
};

TEST_F(ConnectionTableTest, TheOneThatWaitedLongestGoesForAnother) {
  FakeMember& first = Add(Phase::kIdle, "a");
  FakeMember& second = Add(Phase::kRequest, "b");
  FakeMember& third = Add(Phase::kLinger, "c");
  table_.Begin(&first, Phase::kRequest);
  Add(Phase::kIdle, "d");
  EXPECT_TRUE(second.closed());
  Add(Phase::kIdle, "e");
  EXPECT_TRUE(third.closed());
  EXPECT_FALSE(first.closed());
  EXPECT_EQ(table_.size(), 3u);
}

TEST_F(ConnectionTableTest, WhoIsAnsweredGoesAfterAllOthersAndWhoWaitsForUsNever) {
  FakeMember& waits = Add(Phase::kHandling, "a");
  FakeMember& reads = Add(Phase::kWriting, "b");
  FakeMember& idle = Add(Phase::kIdle, "c");
  FakeMember& fourth = Add(Phase::kHandling, "d");
  EXPECT_TRUE(idle.closed());
  FakeMember& fifth = Add(Phase::kHandling, "e");
  EXPECT_TRUE(reads.closed());
  FakeMember sixth;
  EXPECT_FALSE(table_.Admit(&sixth, "f"));
  EXPECT_FALSE(table_.EvictOne());
  EXPECT_FALSE(waits.closed() || fourth.closed() || fifth.closed());
}

TEST_F(ConnectionTableTest, AClientThatHasManyLosesItsOwn) {
  FakeMember& other = Add(Phase::kIdle, "b");
  FakeMember& first = Add(Phase::kIdle, "a");
  Add(Phase::kIdle, "a");
  Add(Phase::kIdle, "a");
  EXPECT_TRUE(first.closed());
  EXPECT_FALSE(other.closed());
}

TEST_F(ConnectionTableTest, WhereAllPlacesAreTakenTheClientThatHasMostLosesOne) {
  FakeMember& alone = Add(Phase::kIdle, "b");
  FakeMember& first = Add(Phase::kIdle, "a");
  Add(Phase::kIdle, "a");
  Add(Phase::kIdle, "c");
  EXPECT_TRUE(first.closed());
  EXPECT_FALSE(alone.closed());
}

TEST_F(ConnectionTableTest, LocalClientsAreOnlyCountedInAll) {
  Add(Phase::kIdle, "");
  Add(Phase::kIdle, "");
  Add(Phase::kIdle, "");
  EXPECT_EQ(table_.size(), 3u);
}

TEST_F(ConnectionTableTest, OneThatEndsMakesRoom) {
  Add(Phase::kHandling, "a");
  Add(Phase::kHandling, "a");
  FakeMember refused;
  EXPECT_FALSE(table_.Admit(&refused, "a"));
  members_.pop_back();
  Add(Phase::kHandling, "a");
  members_.clear();
  EXPECT_TRUE(table_.empty());
}

TEST_F(ConnectionTableTest, BodiesOfRequestsShareABudget) {
  FakeMember& first = Add(Phase::kRequest);
  FakeMember& second = Add(Phase::kRequest);
  EXPECT_TRUE(table_.HoldRequest(&first, 60));
  EXPECT_TRUE(table_.HoldRequest(&first, 90));
  EXPECT_FALSE(table_.HoldRequest(&second, 11));
  EXPECT_TRUE(table_.HoldRequest(&second, 10));
  EXPECT_TRUE(table_.HoldRequest(&first, 0));
  EXPECT_TRUE(table_.HoldRequest(&second, 100));
  members_.clear();
  EXPECT_TRUE(table_.HoldRequest(&Add(Phase::kRequest), 100));
}

TEST_F(ConnectionTableTest, ABodyThatManyReadIsCountedOnce) {
  const Body body = BodyOf(90);
  FakeMember& first = Add(Phase::kWriting, "a");
  FakeMember& second = Add(Phase::kWriting, "b");
  table_.HoldUnread(&first, body);
  table_.HoldUnread(&second, body);
  EXPECT_EQ(table_.unread_bytes(), 90u);
  table_.ReleaseUnread(&first);
  EXPECT_EQ(table_.unread_bytes(), 90u);
  table_.ReleaseUnread(&second);
  EXPECT_EQ(table_.unread_bytes(), 0u);
  EXPECT_FALSE(first.closed() || second.closed());
}

TEST_F(ConnectionTableTest, WhereTooMuchIsUnreadTheSlowestReadersGo) {
  FakeMember& idle = Add(Phase::kIdle, "a");
  FakeMember& slow = Add(Phase::kWriting, "b");
  table_.HoldUnread(&slow, BodyOf(60));
  FakeMember& reader = Add(Phase::kWriting, "c");
  table_.HoldUnread(&reader, BodyOf(60));
  EXPECT_TRUE(slow.closed());
  EXPECT_FALSE(idle.closed() || reader.closed());
  EXPECT_EQ(table_.unread_bytes(), 60u);
  table_.HoldUnread(&reader, BodyOf(200));  // an answer is never too large for one reader
  EXPECT_FALSE(reader.closed());
}

TEST_F(ConnectionTableTest, ALargeAnswerHasTimeForItsSize) {
  ConnectionTable table({.answer = milliseconds(0), .answer_bytes_per_second = 10});
  FakeMember small, large;
  for (FakeMember* member : {&small, &large}) {
    ASSERT_TRUE(table.Admit(member, ""));
    table.Begin(member, Phase::kWriting);
  }
  table.HoldUnread(&small, BodyOf(9));
  table.HoldUnread(&large, BodyOf(600));  // a minute
  table.CloseOverdue();
  EXPECT_TRUE(small.closed());
  EXPECT_FALSE(large.closed());
}

TEST_F(ConnectionTableTest, EachPhaseHasItsTimeButHandling) {
  ConnectionTable table({.handshake = milliseconds(0),
                         .idle = milliseconds(0),
                         .request = milliseconds(0),
                         .answer = std::chrono::hours(1),
                         .linger = milliseconds(0)});
  const auto overdue = [&table](Phase phase) {
    FakeMember member;
    EXPECT_TRUE(table.Admit(&member, "a"));
    table.Begin(&member, phase);
    table.CloseOverdue();
    return member.closed();
  };
  EXPECT_TRUE(overdue(Phase::kHandshake));
  EXPECT_TRUE(overdue(Phase::kIdle));
  EXPECT_TRUE(overdue(Phase::kRequest));
  EXPECT_TRUE(overdue(Phase::kLinger));
  EXPECT_FALSE(overdue(Phase::kWriting));
  EXPECT_FALSE(overdue(Phase::kHandling));
}

TEST_F(ConnectionTableTest, ANewOneHasItsTime) {
  FakeMember member;
  ASSERT_TRUE(table_.Admit(&member, "a"));
  table_.CloseOverdue();
  EXPECT_FALSE(member.closed());
}

TEST_F(ConnectionTableTest, AtStopThoseWithAnAnswerUnderWayAreLast) {
  FakeMember& waits = Add(Phase::kHandling);
  FakeMember& idle = Add(Phase::kIdle);
  table_.CloseIdle();
  EXPECT_TRUE(idle.closed());
  EXPECT_FALSE(waits.closed());
  table_.CloseAll();
  EXPECT_TRUE(waits.closed());
  EXPECT_TRUE(table_.empty());
  table_.Begin(&waits, Phase::kIdle);  // as a connection that has not noticed yet
  table_.HoldUnread(&waits, BodyOf(10));
  EXPECT_EQ(table_.unread_bytes(), 0u);
}

}  // namespace
}  // namespace olmoe::http
