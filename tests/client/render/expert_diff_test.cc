#include "client/render/expert_diff.h"

#include "absl/strings/str_split.h"
#include "client/render/heatmap.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// The same in `layers` layers.
v1::ArmExpertStats Stats(const std::string& arm, const std::vector<uint64_t>& expert_tokens,
                         uint64_t tokens, uint32_t layers = 2) {
  v1::ArmExpertStats stats;
  stats.set_arm_id(arm);
  stats.set_policy_id("p");
  stats.set_policy_digest("0123456789abcdef");
  stats.set_kind(v1::DECISION_KIND_APPLIED);
  for (uint32_t layer = 0; layer < layers; ++layer) {
    v1::LayerExpertStats* row = stats.add_layers();
    row->set_layer(layer);
    row->set_tokens(tokens);
    row->mutable_expert_tokens()->Add(expert_tokens.begin(), expert_tokens.end());
  }
  return stats;
}

std::string Diff(const v1::ArmExpertStats& from, const v1::ArmExpertStats& to, int top,
                 const Style& style = Style()) {
  auto experts = compare::CompareExperts(from, to, 0.05);
  return RenderExpertDiff({from, to, 0.05, *std::move(experts)}, top, style);
}

TEST(RenderExpertDiff, ShowsTheDirectionTheLargestMoversAndWhatChanceDoesNotDo) {
  const std::string diff =
      Diff(Stats("a", {40, 40, 40, 40}, 80), Stats("b", {0, 33, 55, 72}, 80), 4);
  EXPECT_THAT(diff, StartsWith("from arm a, policy p\n"));
  EXPECT_THAT(diff, HasSubstr("\nto arm b, policy p\n"));
  EXPECT_THAT(diff, HasSubstr("\n0 -,+* 0.294 "));
  EXPECT_THAT(diff, HasSubstr("\nsignificant (*, q <= 0.05): 6 of 8 experts; by layer: 0: 3, 1: 3"
                              "\n\nLAYER  EXPERT    FROM      TO  DIFFERENCE        P        Q\n"
                              "    0       0  50.00%   0.00%     -50.00%  2.8e-13  1.1e-12  *\n"
                              "    1       0  50.00%   0.00%     -50.00%  2.8e-13  1.1e-12  *\n"
                              "    0       3  50.00%  90.00%     +40.00%  3.4e-08  6.8e-08  *\n"
                              "    1       3  50.00%  90.00%     +40.00%  3.4e-08  6.8e-08  *\n"));
  EXPECT_THAT(diff, Not(HasSubstr("+18.75%")));  // only the four largest
}

TEST(RenderExpertDiff, SaysWhatIsTooSmallToPrint) {
  const std::string diff =
      Diff(Stats("a", {0, 90000}, 100000), Stats("b", {100000, 90000}, 100000), 4);
  EXPECT_THAT(diff, HasSubstr("  <1e-300  <1e-300  *\n"));
  EXPECT_THAT(diff, HasSubstr("  90.00%   90.00%      +0.00%        1        1\n"));
}

TEST(RenderExpertDiff, ListsNoExpertWhereNoneIsAskedFor) {
  const v1::ArmExpertStats stats = Stats("a", {1, 2}, 2);
  EXPECT_THAT(Diff(stats, stats, 0), Not(HasSubstr("LAYER")));
}

// The longest names and the largest numbers that there can be.
TEST(RenderExpertDiff, FitsEightyColumns) {
  const uint64_t tokens = uint64_t{1} << 40;
  std::vector<uint64_t> all(64, tokens), none(64, 0);
  v1::ArmExpertStats from = Stats(std::string(32, 'a'), all, tokens, 16);
  v1::ArmExpertStats to = Stats(std::string(32, 'b'), none, tokens, 16);
  for (v1::ArmExpertStats* stats : {&from, &to}) stats->set_policy_id(std::string(32, 'p'));
  for (const absl::string_view line : absl::StrSplit(Diff(from, to, 3), '\n')) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

}  // namespace
}  // namespace olmoe::client::render
