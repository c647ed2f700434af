// What `olmoectl route` reads besides logits: cases and calibrations.
#include <string>
#include <utility>
#include <vector>

#include "client/route/cdf_tables.h"
#include "client/route/vector_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::route {
namespace {

using ::testing::HasSubstr;

constexpr char kTable[] = R"("x0": 0, "dx": 8, "cdf": [0, 1])";

TEST(VectorFile, CountsThatFitNoIntegerAreInvalidAndNotWrapped) {
  const auto decided = DecideCase(
      R"({"E": 2, "k0": 1, "logits": [1, 2], "policy": {"kind": "MIN_P", "ratio": "NaN",
          "min_k": 4294967297, "max_k": -1, "weight_mode": "NATIVE"}})",
      {});
  ASSERT_TRUE(decided.ok()) << decided.status();
  EXPECT_EQ(decided->dump(), R"({"invalid":["max_k","min_k","ratio"]})");
}

absl::StatusOr<CdfTables> Tables(const std::string& text) {
  const auto tables = notation::ParseCalibration(text);
  if (!tables.ok()) return tables.status();
  return MakeCdfTables(*tables);
}

TEST(CdfTables, TablesMayBeNamedOrNot) {
  const auto tables = Tables(std::string(R"([{"calibration": "a", "layer": 1, )") + kTable +
                             R"(}, {"layer": 2, )" + kTable + "}]");
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_NE(FindTable(*tables, "a", 1), nullptr);
  EXPECT_EQ(FindTable(*tables, "b", 1), nullptr);
  EXPECT_NE(FindTable(*tables, "b", 2), nullptr);
  EXPECT_EQ(FindTable(*tables, "b", 3), nullptr);
}

TEST(CdfTables, WhatTheServerExportsIsRead) {
  const auto tables = Tables(std::string(R"({"calibration":"a","layers":[)") + "\n{" + kTable +
                             "},\n{" + kTable + "}\n]}\n");
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_EQ(tables->size(), 2u);
  EXPECT_NE(FindTable(*tables, "a", 1), nullptr);
}

TEST(CdfTables, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"x0": 0, "dx": 1, "cdf": [0, 2]})", "cdf[1]: must be in [0, 1]"},
      {R"([{"x": [0, 1], "cdf": [0, 1]}, {"x": [1, 0], "cdf": [0, 1]}])", "[1].dx: must be > 0"},
      {R"({"x0": 0, "dx": 1, "cdf": [0, 1], "survival": [1, 0.5]})", "survival: must be 1 - cdf"},
      {R"([{"x0": 0, "dx": 1, "cdf": [0, 1]}, {"layer": 0, "x0": 0, "dx": 1, "cdf": [0, 1]}])",
       "[1].layer: layer 0 of \"\" occurs twice"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(std::string(Tables(text).status().message()), HasSubstr(message)) << text;
  }
}

}  // namespace
}  // namespace olmoe::client::route
