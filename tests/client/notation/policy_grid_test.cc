#include "client/notation/policy_grid.h"

#include <string>
#include <utility>
#include <vector>

#include "client/notation/policy_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Expand(const std::string& grid) {
  const auto specs = ExpandGrid(grid);
  EXPECT_TRUE(specs.ok()) << specs.status();
  return specs.ok() ? *specs : std::vector<std::string>();
}

TEST(Grid, RangesAndListsAreEveryCombination) {
  EXPECT_THAT(Expand("top-k=1..3"), ElementsAre("top-k=1", "top-k=2", "top-k=3"));
  EXPECT_THAT(Expand("top-k:k=1..2,4"), ElementsAre("top-k:k=1", "top-k:k=2", "top-k:k=4"));
  EXPECT_THAT(Expand("min-p:ratio=0.1,0.2,max=4,8"),
              ElementsAre("min-p:ratio=0.1,max=4", "min-p:ratio=0.1,max=8", "min-p:ratio=0.2,max=4",
                          "min-p:ratio=0.2,max=8"));
  EXPECT_THAT(Expand("top-k=1, layers=0..2"),
              ElementsAre("top-k=1,layers=0", "top-k=1,layers=1", "top-k=1,layers=2"));
  EXPECT_THAT(
      Expand("top-k=1,2,layers=0/top-k=4,layers=1,2"),
      ElementsAre("top-k=1,layers=0/top-k=4,layers=1", "top-k=1,layers=0/top-k=4,layers=2",
                  "top-k=2,layers=0/top-k=4,layers=1", "top-k=2,layers=0/top-k=4,layers=2"));
}

TEST(Grid, WhatHasOneValueStaysAsItIs) {
  for (const char* spec :
       {"native", "hc", "top-k=4", "native/top-k=2,analyze", "hc,max=4", "top-k=2,decode",
        "thin@top-k=2,layers=0-3+7", "top-k=8,ban=3+17,bias=0.5:0,bias-scope=both",
        "keep=\"p >= 0.3 * p1 || rank <= max(1, 2)\",min=2", "keep=rank==1"}) {
    EXPECT_THAT(Expand(spec), ElementsAre(spec));
  }
}

TEST(Grid, ExpressionsAreListedInQuotes) {
  EXPECT_THAT(Expand("keep=\"rank <= 2\",\"p > 0.1..2\",min=1..2"),
              ElementsAre("keep=\"rank <= 2\",min=1", "keep=\"rank <= 2\",min=2",
                          "keep=\"p > 0.1..2\",min=1", "keep=\"p > 0.1..2\",min=2"));
}

TEST(Grid, MakesSpecs) {
  for (const std::string& spec :
       Expand("top-p=0.3,0.5,max=8,16,layers=0-3,4-15/min-p=0.1,analyze")) {
    const auto policy = ParsePolicySpec(spec);
    EXPECT_TRUE(policy.ok()) << policy.status();
    EXPECT_EQ(FormatPolicySpec(*policy).rfind("native/min-p=0.1,analyze/top-p=", 0), 0u);
  }
}

TEST(Grid, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"top-k=8..1", "\"8..1\" is not a range of whole numbers such as 1..8"},
      {"top-p=0.1..0.5", "\"0.1..0.5\" is not a range"},
      {"top-k=1..", "\"1..\" is not a range"},
      {"top-k=0..4294967295", "a range of more than 4096 numbers"},
      {"top-k=0..99999999999", "is not a range"},
      {"top-k=1..64,layers=0..63,max=1..2", "is more than 4096 policies"},
  };
  for (const auto& [grid, message] : cases) {
    const auto specs = ExpandGrid(grid);
    EXPECT_FALSE(specs.ok()) << grid;
    EXPECT_THAT(std::string(specs.status().message()), HasSubstr("grid " + grid));
    EXPECT_THAT(std::string(specs.status().message()), HasSubstr(message));
  }
}

TEST(Counts, AreAscendingAndEachOnce) {
  EXPECT_THAT(*ParseCounts("8, 1..3,2"), ElementsAre(1, 2, 3, 8));
  for (const char* text : {"", "0", "1..0", "129", "-1", "1.5", "1,,2", "a", "100..200"}) {
    EXPECT_FALSE(ParseCounts(text).ok()) << text;
  }
}

}  // namespace
}  // namespace olmoe::client::notation
