#include "server/stats/histogram.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/stats/arm_table.h"

namespace olmoe::stats {
namespace {

using ::testing::ElementsAre;

constexpr double kBounds[] = {1, 2, 4};

TEST(HistogramTest, BoundsAreInclusive) {
  Histogram histogram(kBounds);
  for (const double value : {0.5, 1., 1.5, 2., 4., 4.5}) histogram.Add(value);
  EXPECT_THAT(histogram.counts(), ElementsAre(2, 2, 1, 1));
  EXPECT_EQ(histogram.sum(), 13.5);
}

TEST(HistogramTest, AddsManyAtOnce) {
  Histogram histogram(kBounds);
  histogram.Add(3, 5);
  EXPECT_THAT(histogram.counts(), ElementsAre(0, 0, 5, 0));
  EXPECT_EQ(histogram.sum(), 15);
}

TEST(ArmTableTest, TheArmUsedLongestAgoGoes) {
  ArmTable<int> table(2);
  table.Get("a") = 1;
  table.Get("b") = 2;
  table.Get("a");
  table.Get("c") = 3;
  std::vector<std::string> arms;
  table.ForEach([&](const std::string& arm, int) { arms.push_back(arm); });
  EXPECT_THAT(arms, ElementsAre("a", "c"));
  EXPECT_EQ(table.Get("a"), 1);
}

}  // namespace
}  // namespace olmoe::stats
