#include "server/stats/shown_arms.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/manual_clock.h"

namespace olmoe::stats {
namespace {

using ::testing::Key;
using ::testing::UnorderedElementsAre;
using Counted = std::map<std::string, uint64_t>;

class ShownArmsTest : public ::testing::Test {
 protected:
  // One scrape.
  ShownArms Show(const Counted& counted, ShownArms held) {
    retirement_.AddOthers(counted, &held);
    return held;
  }

  engine::ManualClock clock_;
  ArmRetirement retirement_{clock_.function()};
};

TEST_F(ShownArmsTest, AnArmIsShownUntilTheGraceAfterItsLastUse) {
  EXPECT_THAT(Show({{"a", 1}}, {{"a", {}}}), UnorderedElementsAre(Key("a")));
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Show({{"a", 1}}, {{"a", {}}}), UnorderedElementsAre(Key("a")));
  clock_.Advance(ArmRetirement::kGrace - absl::Seconds(1));
  EXPECT_THAT(Show({{"a", 1}}, {{"b", {}}}), UnorderedElementsAre(Key("a"), Key("b")));
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Show({{"a", 1}}, {{"b", {}}}), UnorderedElementsAre(Key("b")));
}

TEST_F(ShownArmsTest, WhatIsCountedBetweenScrapesIsAUse) {
  Show({{"inline", 1}}, {});
  clock_.Advance(ArmRetirement::kGrace - absl::Seconds(1));
  EXPECT_THAT(Show({{"inline", 2}}, {}), UnorderedElementsAre(Key("inline")));
  clock_.Advance(ArmRetirement::kGrace - absl::Seconds(1));
  EXPECT_THAT(Show({{"inline", 2}}, {}), UnorderedElementsAre(Key("inline")));
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Show({{"inline", 2}}, {}), UnorderedElementsAre());
}

TEST_F(ShownArmsTest, LastCountsAreSeenHoweverRarelySomebodyScrapes) {
  Show({{"a", 1}}, {{"a", {}}});
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(Show({{"a", 9}}, {}), UnorderedElementsAre(Key("a")));
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(Show({{"a", 9}}, {}), UnorderedElementsAre());
}

TEST_F(ShownArmsTest, AnArmThatComesBackIsShownAtOnceAndHasItsGraceAgain) {
  Show({{"a", 1}}, {});
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Show({{"a", 1}}, {}), UnorderedElementsAre());
  EXPECT_THAT(Show({{"a", 1}}, {{"a", {}}}), UnorderedElementsAre(Key("a")));
  clock_.Advance(absl::Minutes(1));
  EXPECT_THAT(Show({{"a", 1}}, {}), UnorderedElementsAre(Key("a")));
}

}  // namespace
}  // namespace olmoe::stats
