#include "client/notation/calibration_file.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Error(std::string_view json) {
  const auto layers = ParseCalibration(json);
  EXPECT_EQ(layers.status().code(), absl::StatusCode::kInvalidArgument) << json;
  return std::string(layers.status().message());
}

// The layers of the one calibration of a file.
absl::StatusOr<std::vector<v1::LayerCdf>> Layers(std::string_view json) {
  const auto tables = ParseCalibration(json);
  if (!tables.ok()) return tables.status();
  return TablesOf(*tables, "a");
}

TEST(CalibrationFile, TablesAreNumberedByPlaceOrByName) {
  const auto layers = Layers(
      R"({"layers": [{"x0": -1.5, "dx": 0.25, "cdf": [0, 0.5, 1]},
                     {"layer": 7, "x0": 0, "dx": 1, "cdf": [0, 1]}]})");
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  EXPECT_EQ((*layers)[0].layer(), 0u);
  EXPECT_EQ((*layers)[0].x0(), -1.5);
  EXPECT_EQ((*layers)[0].dx(), 0.25);
  EXPECT_THAT((*layers)[0].cdf(), ElementsAre(0, 0.5, 1));
  EXPECT_EQ((*layers)[1].layer(), 7u);
}

TEST(CalibrationFile, EvenlySpacedPointsAreAGrid) {
  const auto layers = Layers(R"([{"x": [-1, 0.0001, 1], "cdf": [0, 0.5, 1]}])");
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_EQ((*layers)[0].x0(), -1);
  EXPECT_EQ((*layers)[0].dx(), 1);
  EXPECT_THAT(Error(R"([{"x": [0, 1, 3], "cdf": [0, 0.5, 1]}])"),
              HasSubstr("[0].x: is not evenly spaced: point 1 is 1, not 1.5"));
}

TEST(CalibrationFile, WhatItWritesItReadsBackExactly) {
  v1::LayerCdf layer;
  layer.set_layer(3);
  layer.set_x0(-0.1);
  layer.set_dx(1.0 / 3);
  for (const double value : {0.0, 0.1 + 0.2, 1.0}) layer.add_cdf(value);
  for (const double value : {1.0, 0.7, 1e-18}) layer.add_survival(value);
  const auto layers = Layers(FormatCalibration("c \"1\"", {layer}));
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 1u);
  EXPECT_EQ((*layers)[0].SerializeAsString(), layer.SerializeAsString());
}

TEST(CalibrationFile, ATableALineIsAFileToo) {
  const auto layers = Layers(
      "{\"layer\": 2, \"x0\": 0, \"dx\": 1, \"cdf\": [0, 1]}\r\n\n"
      "{\"layer\": 1, \"x\": [0, 1], \"cdf\": [0, 1]}");
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  EXPECT_EQ((*layers)[0].layer(), 2u);
  EXPECT_EQ((*layers)[1].layer(), 1u);
  EXPECT_THAT(Error("{\"x0\": 0, \"dx\": 1, \"cdf\": [0, 1]}\n{\"x0\": 0}\n"),
              HasSubstr("line 2: cdf: is missing"));
}

TEST(CalibrationFile, OfAFileOfSeveralCalibrationsThoseTablesAreTakenThatNameIt) {
  constexpr char kTwo[] = R"([{"calibration": "a", "x0": 0, "dx": 1, "cdf": [0, 1]},
                              {"calibration": "b", "x0": 0, "dx": 2, "cdf": [0, 1]}])";
  const auto tables = ParseCalibration(kTwo);
  ASSERT_TRUE(tables.ok()) << tables.status();
  const auto b = TablesOf(*tables, "b");
  ASSERT_TRUE(b.ok()) << b.status();
  ASSERT_EQ(b->size(), 1u);
  EXPECT_EQ((*b)[0].dx(), 2);
  EXPECT_THAT(std::string(TablesOf(*tables, "c").status().message()), HasSubstr("a, b"));
  const auto one = ParseCalibration(R"({"calibration": "a", "layers": [
      {"x0": 0, "dx": 1, "cdf": [0, 1]}]})");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_TRUE(TablesOf(*one, "another").ok());
}

TEST(CalibrationFile, EveryTableThatIsWrongIsNamed) {
  const std::string error =
      Error(R"({"layers": [{"cdf": [0, 1]}, {"x0": 0, "dx": 1, "cdf": [0, "a"]}, 4,
                           {"x": [0, 1], "cdf": [0]},
                           {"layer": -1, "x0": 0, "dx": 1, "cdf": []}, {"x0": 0, "dx": 1}]})");
  for (const char* part :
       {"layers[0]: has neither \"x\"", "layers[1].cdf[1]: must be a number",
        "layers[2]: must be an object", "layers[3].x: must have as many points as cdf (1)",
        "layers[4].layer: must be an integer", "layers[5].cdf: is missing"}) {
    EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST(CalibrationFile, WhatIsNoCalibrationIsRefused) {
  for (const char* json : {"", "\n", "[]", "{\"layers\": []}"}) {
    EXPECT_THAT(Error(json), HasSubstr("no tables: a calibration is JSON")) << json;
  }
  EXPECT_THAT(Error("{"), HasSubstr("not JSON at byte 2"));
  EXPECT_THAT(Error("{}\n{"), HasSubstr("cdf: is missing"));
  EXPECT_THAT(Error("{\"x0\": 0, \"dx\": 1, \"cdf\": [0, 1]}\n{"), HasSubstr("line 2: not JSON"));
  EXPECT_THAT(Error("{\n\"x0\": 0,\n\"x0\": 1}"), HasSubstr("duplicate key \"x0\""));
  EXPECT_THAT(Error("7"), HasSubstr("must be an object"));
  EXPECT_THAT(Error("[[]]"), HasSubstr("[0]: must be an object"));
  EXPECT_THAT(Error("{}"), HasSubstr("cdf: is missing"));
  EXPECT_THAT(Error(R"({"layers": {}})"), HasSubstr("layers: must be an array, is {}"));
  EXPECT_THAT(Error(R"({"calibration": 3, "layers": []})"),
              HasSubstr("calibration: must be a string"));
}

}  // namespace
}  // namespace olmoe::client::notation
