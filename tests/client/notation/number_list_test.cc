#include "client/notation/number_list.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseLayers, RangesAndNumbersBecomeAscendingLayersEachOnce) {
  EXPECT_THAT(*ParseLayers("0-3,7"), ElementsAre(0, 1, 2, 3, 7));
  EXPECT_THAT(*ParseLayers("7, 2-3 ,3-4,7"), ElementsAre(2, 3, 4, 7));
  EXPECT_THAT(*ParseLayers("5-5"), ElementsAre(5));
}

TEST(ParseLayers, NonsenseIsRefusedByName) {
  for (const char* text : {"", "a", "1,", ",1", "3-1", "1-", "-1", "1-2-3", "1.5", "+1", "0x1",
                           "4294967296", "0-1024", "1 2"}) {
    EXPECT_EQ(ParseLayers(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(std::string(ParseLayers("0,5-x").status().message()), HasSubstr("\"5-x\""));
}

TEST(ParseTokenIds, KeepsOrderAndRepeats) {
  EXPECT_THAT(*ParseTokenIds("3,1, 3"), ElementsAre(3, 1, 3));
  EXPECT_THAT(*ParseTokenIds("4294967295"), ElementsAre(4294967295u));
}

TEST(ParseTokenIds, NonsenseIsRefusedByName) {
  for (const char* text : {"", "1,", "-1", "1;2", "4294967296", "1-3"}) {
    EXPECT_EQ(ParseTokenIds(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace olmoe::client::notation
