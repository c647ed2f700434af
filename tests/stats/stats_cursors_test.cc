#include "server/stats/stats_cursors.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/manual_clock.h"
#include "tests/stats/counts.h"

namespace olmoe::stats {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr routing::RouterShape kShape = {2, 4, 2, false};

class StatsCursorsTest : public ::testing::Test {
 protected:
  void Make(StatsCursors::Options options) {
    options.run = 0xabc;
    options.now = clock_.function();
    cursors_ = std::make_unique<StatsCursors>(&stats_, options);
  }
  void SetUp() override { Make({}); }

  // Counts one token of `arm` under a policy of this name.
  void Count(const std::string& arm, int number = 0) {
    routing::PolicySpec spec;
    spec.policy_id = absl::StrCat("policy-", number);
    spec.apply = routing::Rule{routing::TopK{1 + static_cast<uint32_t>(number) % 4}, {}};
    const auto policy = routing::RoutingPolicy::Create(spec, kShape, nullptr, "policy");
    const routing::Assignment assignment{arm, *policy, routing::AssignmentReason::kDefault};
    routing::RoutingRecord record;
    record.Reset(2, 1);
    for (int layer = 0; layer < 2; ++layer) {
      routing::RowRouting row;
      (*policy)->Route({.layer = layer}, std::vector<float>{1, 2, 3, 4}, &row);
      record.Add(row);
    }
    stats_.AddStep({{&assignment, engine::Phase::kDecode, 0, 1}}, record);
  }
  StatsReading Read(const std::string& cursor) {
    auto position = cursors_->Find(cursor, "since_cursor");
    EXPECT_TRUE(position.ok()) << position.status();
    return cursors_->Read(&*position);
  }
  absl::StatusCode CodeOf(const std::string& cursor) {
    return cursors_->Find(cursor, "since_cursor").status().code();
  }

  engine::ManualClock clock_;
  ExpertStats stats_{2, 4};
  std::unique_ptr<StatsCursors> cursors_;
};

uint64_t Tokens(const StatsReading& reading) {
  uint64_t tokens = 0;
  for (const ExpertCounts& counts : reading.counts) tokens += counts.layers[0].tokens;
  return tokens;
}

TEST_F(StatsCursorsTest, ACursorGivesWhatWasCountedSinceIt) {
  const absl::Time start = clock_.Now();
  Count("a");
  clock_.Advance(absl::Seconds(1));
  const StatsReading first = Read("");
  EXPECT_EQ(Tokens(first), 1u);
  EXPECT_EQ(first.start, start);
  EXPECT_EQ(first.end, start + absl::Seconds(1));
  Count("a");
  Count("b");
  clock_.Advance(absl::Seconds(1));
  const StatsReading second = Read(first.cursor);
  EXPECT_EQ(Tokens(second), 2u);
  EXPECT_EQ(second.start, first.end);
  EXPECT_EQ(second.end, start + absl::Seconds(2));
  EXPECT_THAT(Read(second.cursor).counts, IsEmpty()) << "entries without a token are left out";
}

class MarksTest : public StatsCursorsTest {
 protected:
  // One token, then a mark, at each of these many beats.
  void Beat(int times, absl::Duration period = absl::Seconds(10)) {
    for (int i = 0; i < times; ++i) {
      Count("a");
      clock_.Advance(period);
      cursors_->Mark();
    }
  }
  StatsReading Last(absl::Duration ago) {
    StatsCursors::Position position = cursors_->FindOlder(ago);
    return cursors_->Read(&position);
  }
};

TEST_F(MarksTest, WithoutAMarkBeforeItTheLastWhileBeginsAtTheBeginning) {
  const absl::Time start = clock_.Now();
  Count("a");
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Tokens(Last(absl::Minutes(5))), 1u);
  EXPECT_EQ(Last(absl::Minutes(5)).start, start);
  Beat(3);
  EXPECT_EQ(Tokens(Last(absl::Minutes(5))), 4u);
}

TEST_F(MarksTest, TheLastWhileBeginsAtTheNewestMarkBeforeIt) {
  Beat(6);
  Count("a");
  clock_.Advance(absl::Seconds(5));
  const StatsReading last = Last(absl::Seconds(20));
  EXPECT_EQ(clock_.Now() - last.start, absl::Seconds(25));
  EXPECT_EQ(Tokens(last), 3u);
  EXPECT_EQ(Tokens(Last(absl::Seconds(5))), 1u);
}

TEST_F(MarksTest, AreFewerTheOlderAndLastADay) {
  Beat(3 * 24 * 360);
  const absl::Duration day = absl::Hours(24);
  for (const absl::Duration ago : {absl::Minutes(1), absl::Minutes(5), absl::Hours(1), day}) {
    const absl::Duration reached = clock_.Now() - Last(ago).start;
    EXPECT_GE(reached, ago);
    EXPECT_LE(reached, ago * 1.3 + absl::Seconds(10)) << ago;
    EXPECT_EQ(Tokens(Last(ago)), static_cast<uint64_t>(reached / absl::Seconds(10)));
  }
}

TEST_F(MarksTest, AreBoundedInMemory) {
  StatsCursors::Options options;
  options.max_mark_bytes = 1;
  Make(options);
  Beat(5);
  EXPECT_EQ(Tokens(Last(absl::Seconds(0))), 0u) << "the newest mark stays";
  EXPECT_EQ(Tokens(Last(absl::Seconds(30))), 5u);
}

TEST_F(StatsCursorsTest, ReadersDoNotDisturbEachOther) {
  Count("a");
  const StatsReading slow = Read("");
  StatsReading quick = Read("");
  for (int i = 0; i < 100; ++i) {
    Count("a");
    quick = Read(quick.cursor);
    EXPECT_EQ(Tokens(quick), 1u);
  }
  EXPECT_EQ(Tokens(Read(slow.cursor)), 100u);
  EXPECT_EQ(Tokens(Read(slow.cursor)), 100u) << "the same cursor again";
}

TEST_F(StatsCursorsTest, AQuickReaderTakesNoPlaceFromASlowOne) {
  Make({.max_cursors = 8});
  const std::string slow = Read(Read("").cursor).cursor;
  std::string quick;
  for (int i = 0; i < 1000; ++i) {
    Count("a");
    quick = Read(quick).cursor;
  }
  EXPECT_EQ(Tokens(Read(slow)), 1000u);
}

TEST_F(StatsCursorsTest, AReaderThatNeverPassesACursorBackTakesNoPlaceEither) {
  Make({.max_cursors = 8});
  const std::string slow = Read(Read("").cursor).cursor;
  for (int i = 0; i < 1000; ++i) {
    Count("a");
    Read("");
  }
  EXPECT_EQ(Tokens(Read(slow)), 1000u);
}

TEST_F(StatsCursorsTest, AFixedBaselineIsKeptWhileItIsReadFrom) {
  Make({.max_cursors = 8});
  const std::string slow = Read(Read("").cursor).cursor;
  const std::string baseline = Read("").cursor;
  for (uint64_t i = 1; i <= 1000; ++i) {
    Count("a");
    EXPECT_EQ(Tokens(Read(baseline)), i);
  }
  EXPECT_EQ(Tokens(Read(slow)), 1000u);
}

TEST_F(StatsCursorsTest, AForgottenCursorSaysSo) {
  Make({.max_cursors = 2});
  const std::string first = Read("").cursor;
  for (int i = 0; i < 2; ++i) Read("");
  const absl::Status status = cursors_->Find(first, "since_cursor").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("since_cursor: the cursor is not kept"));
}

TEST_F(StatsCursorsTest, BytesAreBoundedAndMomentsWithNothingNewShareThem) {
  Make({.max_cursors = 100, .max_bytes = 1});
  Count("a");
  std::vector<std::string> same;
  for (int i = 0; i < 3; ++i) same.push_back(Read("").cursor);
  EXPECT_EQ(CodeOf(same[1]), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(cursors_->Find(same[2], "").ok()) << "the newest is always kept";

  Make({.max_cursors = 100, .max_bytes = 2000});  // enough for about two moments
  same.clear();
  for (int i = 0; i < 50; ++i) same.push_back(Read("").cursor);
  for (const std::string& cursor : same) EXPECT_EQ(CodeOf(cursor), absl::StatusCode::kOk);
  for (int i = 0; i < 50; ++i) {
    Count("a");
    Read("");
  }
  for (const std::string& cursor : same) {
    EXPECT_EQ(CodeOf(cursor), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(StatsCursorsTest, ACursorOfAnotherRunIsRefused) {
  const std::string cursor = Read("").cursor;
  EXPECT_EQ(cursor, "0000000000000abc-1");
  EXPECT_EQ(CodeOf("0000000000000abd-1"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CodeOf("0000000000000abc-2"), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StatsCursorsTest, WhatNeverWasACursorIsABadField) {
  for (const char* text :
       {"x", "-", "0000000000000abc-", "0000000000000abc-0", "0000000000000abc--1",
        "0000000000000abc-+1", "0000000000000abc-1x", "0000000000000ABC-1", "000000000000abc-1",
        "0000000000000abc-99999999999999999999", "0000000000000abc 1"}) {
    EXPECT_EQ(CodeOf(text), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST_F(StatsCursorsTest, APositionOutlivesItsCursor) {
  Make({.max_cursors = 1});
  StatsCursors::Position position = *cursors_->Find("", "");
  const std::string first = cursors_->Read(&position).cursor;
  Count("a");
  Read("");
  EXPECT_EQ(CodeOf(first), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Tokens(cursors_->Read(&position)), 1u);
}

TEST_F(StatsCursorsTest, DifferencesAreExactWherePoliciesAreSummedUp) {
  // An arm keeps eight policies apart: each of these is summed up and begins anew, often.
  ArmTotals sum;
  StatsCursors::Position position = *cursors_->Find("", "");
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 5; ++i) Count("a", (7 * round + 3 * i * i) % 11);
    const StatsReading reading = cursors_->Read(&position);
    ExpectEqualities(reading.counts);
    EXPECT_EQ(Tokens(reading), 5u);
    AddTo(reading.counts, &sum);
  }
  ExpectSameTotals(sum, TotalsOf(stats_.Snapshot()));
}

}  // namespace
}  // namespace olmoe::stats
