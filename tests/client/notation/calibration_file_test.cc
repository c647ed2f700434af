#include "client/notation/calibration_file.h"

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

TEST(CalibrationFile, TablesAreNumberedByPlaceOrByName) {
  const auto layers = ParseCalibration(
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
  const auto layers = ParseCalibration(R"([{"x": [-1, 0.0001, 1], "cdf": [0, 0.5, 1]}])");
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_EQ((*layers)[0].x0(), -1);
  EXPECT_EQ((*layers)[0].dx(), 1);
  EXPECT_THAT(Error(R"([{"x": [0, 1, 3], "cdf": [0, 0.5, 1]}])"),
              HasSubstr("layers[0] \"x\" is not evenly spaced: x[1] is 1, not 1.5"));
}

TEST(CalibrationFile, WhatItWritesItReadsBackExactly) {
  v1::LayerCdf layer;
  layer.set_layer(3);
  layer.set_x0(-0.1);
  layer.set_dx(1.0 / 3);
  for (const double value : {0.0, 0.1 + 0.2, 1.0}) layer.add_cdf(value);
  for (const double value : {1.0, 0.7, 1e-18}) layer.add_survival(value);
  const auto layers = ParseCalibration(FormatCalibration("c \"1\"", {layer}));
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 1u);
  EXPECT_EQ((*layers)[0].SerializeAsString(), layer.SerializeAsString());
}

TEST(CalibrationFile, EveryTableThatIsWrongIsNamed) {
  const std::string error =
      Error(R"({"layers": [{"cdf": [0, 1]}, {"x0": 0, "dx": 1, "cdf": [0, "a"]}, 4,
                           {"x": [0, 1], "cdf": [0]},
                           {"layer": -1, "x0": 0, "dx": 1, "cdf": []}]})");
  for (const char* part :
       {"layers[0] has neither \"x\"", "layers[1] \"cdf\" is not", "layers[2] is not an object",
        "layers[3] \"x\" and \"cdf\"", "layers[4] \"layer\""}) {
    EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST(CalibrationFile, WhatIsNoCalibrationIsRefused) {
  for (const char* json : {"", "{", "{}", "[]", "7", "{\"layers\": {}}", "{\"layers\": []}"}) {
    EXPECT_THAT(Error(json), HasSubstr("not JSON with an array \"layers\"")) << json;
  }
}

}  // namespace
}  // namespace olmoe::client::notation
