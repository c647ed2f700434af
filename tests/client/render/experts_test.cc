#include "client/render/experts.h"

#include "absl/strings/str_split.h"
#include "client/render/heatmap.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::ArmExpertStats Stats(const std::string& arm, const std::vector<uint64_t>& expert_tokens) {
  v1::GetExpertStatsResponse response;
  auto* stats = response.add_arms();
  stats->set_arm_id(arm);
  stats->set_policy_id("top-k-2");
  stats->set_policy_digest("0123456789abcdef");
  stats->set_kind(v1::DECISION_KIND_APPLIED);
  stats->set_phase(v1::PHASE_DECODE);
  for (const uint32_t layer : {0, 1}) {
    auto* row = stats->add_layers();
    row->set_layer(layer);
    row->set_tokens(10);
    row->mutable_expert_tokens()->Add(expert_tokens.begin(), expert_tokens.end());
    for (const uint64_t count : {0, 0, 10}) row->add_experts_per_token(count);
    row->set_selected_mass(2.5);
    row->set_min_k_hits(2);
  }
  return SumPhases(response).front();
}

TEST(RenderExpertMap, IsReadableWithoutColours) {
  EXPECT_EQ(RenderExpertMap(Stats("wide", {0, 1, 2, 3, 4, 10}), Style()),
            "arm wide, policy top-k-2\n"
            "applied, decode: 10 tokens, mean k 2.00, digest 0123456789ab\n"
            "  0          k   max\n"
            "0  :-=+%  2.00   3.0\n"
            "1  :-=+%  2.00   3.0\n");
  EXPECT_EQ(RenderLoadLegend(Style()),
            "load, 1 = even:   idle  .<1/4  :<1/2  -<3/4  =<1  +<1.5  *<2  #<3  %<5  @5+\n");
}

TEST(RenderExpertMap, ColoursReplaceTheSigns) {
  const std::string map = RenderExpertMap(Stats("wide", {5, 5, 0, 0}), Style(true));
  EXPECT_THAT(map, HasSubstr("0 \x1b[48;5;178m  \x1b[0m    2.00"));  // one code for two cells
  EXPECT_THAT(map, Not(HasSubstr("#")));
  EXPECT_THAT(RenderLoadLegend(Style(true)), HasSubstr("\x1b[48;5;160m \x1b[0m5+\n"));
}

TEST(RenderExpertMap, SixtyFourExpertsFitEightyColumnsAndMoreGoOnBelow) {
  const std::string map = RenderExpertMap(Stats("a", std::vector<uint64_t>(64, 1)), Style());
  for (const absl::string_view line : absl::StrSplit(map, '\n')) EXPECT_LE(line.size(), 80u);
  EXPECT_THAT(map, HasSubstr("  0       8       16      24      32      40      48      56 "));
  const std::string wide = RenderExpertMap(Stats("a", std::vector<uint64_t>(66, 1)), Style());
  EXPECT_THAT(wide, HasSubstr("\n0 " + std::string(64, '+') + "  2.00   1.0\n  ++\n1 "));
  for (const absl::string_view line : absl::StrSplit(RenderLoadLegend(Style()), '\n')) {
    EXPECT_LE(line.size(), 80u);
  }
}

TEST(RenderExpertTable, HasOneRowALayer) {
  const std::string table = RenderExpertTable(Stats("wide", {0, 1, 2, 3, 4, 10}), Style());
  EXPECT_THAT(table, HasSubstr("LAYER  MEAN K    SD  AT MIN  AT MAX   MASS  ENTROPY  LOAD  JAIN  "
                               "IDLE\n"));
  EXPECT_THAT(table, HasSubstr("    0    2.00  0.00   20.0%    0.0%  0.250    0.000  3.00  0.51    "
                               " 1\n"));
}

TEST(RenderExpertTable, TellsHowOftenForcedExpertsRaisedTheNumber) {
  v1::ArmExpertStats stats = Stats("wide", {0, 1, 2, 3, 4, 10});
  stats.mutable_layers(0)->set_force_hits(1);
  const std::string table = RenderExpertTable(stats, Style());
  EXPECT_THAT(table, HasSubstr("IDLE  FORCED\n"));
  EXPECT_THAT(table, HasSubstr("   1   10.0%\n"));
}

// The longest names and the largest numbers that there can be.
TEST(RenderExperts, EverythingFitsEightyColumns) {
  v1::ArmExpertStats stats = Stats(std::string(32, 'a'), std::vector<uint64_t>(64, 1));
  stats.set_policy_id(std::string(32, 'p'));
  stats.set_kind(v1::DECISION_KIND_ANALYZED);
  v1::LayerExpertStats* layer = stats.mutable_layers(0);
  layer->set_tokens(uint64_t{1} << 40);
  layer->set_min_k_hits(layer->tokens());
  layer->set_max_k_hits(layer->tokens());
  layer->set_mean_experts_per_token(64);
  layer->set_stddev_experts_per_token(31.5);
  layer->set_load_max_over_mean(64);
  layer->set_idle_experts(63);
  layer->set_common_experts(1);
  layer->set_union_experts(3);
  for (const std::string& text : {RenderExpertTable(stats, Style()),
                                  RenderExpertMap(stats, Style()), RenderLoadLegend(Style())}) {
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      EXPECT_LE(line.size(), 80u) << line;
    }
  }
}

TEST(ExpertCsv, IsOneLineAnExpertAndQuotesNames) {
  v1::ArmExpertStats stats = Stats("a,\"b\"", {1, 3});
  stats.mutable_layers()->RemoveLast();
  EXPECT_EQ(ExpertCsv({stats}),
            "arm,policy,policy_digest,kind,phase,layer,expert,expert_tokens,layer_tokens,load\n"
            "\"a,\"\"b\"\"\",top-k-2,0123456789abcdef,applied,decode,0,0,1,10,0.5\n"
            "\"a,\"\"b\"\"\",top-k-2,0123456789abcdef,applied,decode,0,1,3,10,1.5\n");
}

}  // namespace
}  // namespace olmoe::client::render
