#include "server/limits/request_memory.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::limits {
namespace {

using ::testing::HasSubstr;

TEST(RequestMemoryTest, CountsWhatIsHeldAndGivesItBack) {
  RequestMemory memory(1000);
  {
    RequestMemory::Hold a = memory.Open("a"), b = memory.Open("b");
    EXPECT_TRUE(a.Resize(300).ok());
    EXPECT_TRUE(b.Resize(200).ok());
    EXPECT_EQ(memory.used_bytes(), 500);
    EXPECT_TRUE(a.Resize(100).ok());
    EXPECT_EQ(memory.used_bytes(), 300);
  }
  EXPECT_EQ(memory.used_bytes(), 0);
}

TEST(RequestMemoryTest, BeyondTheBudgetItRefusesAndNothingChanges) {
  RequestMemory memory(1000);
  RequestMemory::Hold a = memory.Open("a"), b = memory.Open("b");
  ASSERT_TRUE(a.Resize(700).ok());
  ASSERT_TRUE(b.Resize(200).ok());
  const absl::Status status = b.Resize(301);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(b.bytes(), 200);
  EXPECT_EQ(memory.used_bytes(), 900);
  EXPECT_TRUE(b.Resize(300).ok());
}

TEST(RequestMemoryTest, AQuarterIsLeftToOthersThanOneClient) {
  RequestMemory memory(1000);
  RequestMemory::Hold one = memory.Open("a"), two = memory.Open("a"), other = memory.Open("b");
  ASSERT_TRUE(one.Resize(500).ok());
  ASSERT_TRUE(two.Resize(250).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(two.Resize(251)));
  EXPECT_TRUE(other.Resize(250).ok());
}

TEST(RequestMemoryTest, AClientThatIsNotKnownHasNoShare) {
  RequestMemory memory(1000);
  RequestMemory::Hold hold = memory.Open("");
  EXPECT_TRUE(hold.Resize(1000).ok());
}

TEST(RequestMemoryTest, WhatCouldNeverFitSaysSo) {
  RequestMemory memory(1000);
  RequestMemory::Hold hold = memory.Open("a");
  EXPECT_THAT(std::string(hold.Resize(751).message()), HasSubstr("751"));
}

TEST(RequestMemoryTest, WhatIsInMemoryIsCountedBeyondTheBudget) {
  RequestMemory memory(1000);
  RequestMemory::Hold a = memory.Open("a"), b = memory.Open("b");
  a.Set(1500);
  EXPECT_EQ(memory.used_bytes(), 1500);
  EXPECT_FALSE(b.Resize(1).ok());
  EXPECT_TRUE(a.Resize(1400).ok()) << "to hold less never fails";
  a.Set(0);
  EXPECT_TRUE(b.Resize(1).ok());
}

TEST(RequestMemoryTest, ItTellsThatMemoryIsFree) {
  int freed = 0;
  RequestMemory memory(1000, [&freed] { ++freed; });
  RequestMemory::Hold hold = memory.Open("a");
  ASSERT_TRUE(hold.Resize(500).ok());
  EXPECT_EQ(freed, 0);
  ASSERT_TRUE(hold.Resize(400).ok());
  EXPECT_EQ(freed, 1);
  RequestMemory::Hold moved = std::move(hold);
  EXPECT_EQ(freed, 1);
  moved = {};
  EXPECT_EQ(freed, 2);
  EXPECT_EQ(memory.used_bytes(), 0);
}

}  // namespace
}  // namespace olmoe::limits
