#include "server/experiment/calibration_build.h"

#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::experiment {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<TokenId> Tokens(int count) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 10);
  return tokens;
}

TEST(CalibrationWindowsTest, TheRowsAreTheTokens) {
  EXPECT_THAT(CalibrationWindows(Tokens(0), 4), IsEmpty());
  // The last token is a target that no row is computed of.
  const auto one = CalibrationWindows(Tokens(1), 4);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_THAT(one[0].tokens, ElementsAre(10, 10));
  EXPECT_EQ(one[0].first_scored, 1);
  const auto whole = CalibrationWindows(Tokens(4), 4);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_THAT(whole[0].tokens, ElementsAre(10, 11, 12, 13, 10));
  EXPECT_EQ(whole[0].first_scored, 4);
  const auto cut = CalibrationWindows(Tokens(9), 4);
  ASSERT_EQ(cut.size(), 3u);
  EXPECT_THAT(cut[1].tokens, ElementsAre(14, 15, 16, 17, 14));
  EXPECT_THAT(cut[2].tokens, ElementsAre(18, 18));
}

std::vector<size_t> GroupSizes(const std::vector<int>& rows, int max_rows) {
  std::vector<engine::ScoreWindow> windows;
  for (const int count : rows) windows.push_back(CalibrationWindows(Tokens(count), count)[0]);
  std::vector<size_t> sizes;
  for (const auto& group : GroupWindows(std::move(windows), max_rows)) {
    sizes.push_back(group.size());
  }
  return sizes;
}

TEST(GroupWindowsTest, GroupsHaveAtMostSoManyRowsInOrder) {
  EXPECT_THAT(GroupSizes({}, 8), IsEmpty());
  EXPECT_THAT(GroupSizes({8}, 8), ElementsAre(1));
  EXPECT_THAT(GroupSizes({4, 4, 1, 1}, 8), ElementsAre(2, 2));
  EXPECT_THAT(GroupSizes({3, 6, 2, 1}, 8), ElementsAre(1, 2, 1));
  EXPECT_THAT(GroupSizes({9, 1}, 8), ElementsAre(1, 1)) << "one at least";
}

}  // namespace
}  // namespace olmoe::experiment
