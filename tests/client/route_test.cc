// `olmoectl route` in this process: files, lines, recordings.
#include <sstream>
#include <string>
#include <vector>

#include "client/app.h"
#include "client/route/calibration_file.h"
#include "client/route/vector_file.h"
#include "client/trace/recording.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "olmoe/v1/inference.pb.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RouteTest : public ::testing::Test {
 protected:
  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), "route");
    std::istringstream in(input);
    std::ostringstream out, err;
    const ExitCode code = RunApp(arguments, {.in = &in, .out = &out, .err = &err});
    err_ = err.str();
    lines_.clear();
    std::istringstream printed(out.str());
    for (std::string line; std::getline(printed, line);) lines_.push_back(json::parse(line));
    return code;
  }
  testing::TempFolder folder_;
  std::vector<json> lines_;
  std::string err_;
};

// Logits 4, 3, 2, 1 in that order of experts.
constexpr char kRow[] = "[4, 3, 2, 1]";
// p = 1 - z / 8: .5, .625, .75, .875 for these.
constexpr char kTable[] = R"("x0": 0, "dx": 8, "cdf": [0, 1])";

TEST_F(RouteTest, RowsOfTheStandardInputAreRoutedOneByOne) {
  ASSERT_EQ(Run({"--policy", "top-k=2", "--logits", "-"},
                std::string(kRow) + "\n\n" + R"({"layer": 3, "logits": [0, 5, 5, 0]})" + "\n"),
            ExitCode::kOk);
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_THAT(lines_[0]["order_prefix"], ElementsAre(0, 1));
  EXPECT_NEAR(lines_[0]["weights"][0].get<double>(), 0.6439, 1e-4);
  EXPECT_FALSE(lines_[0].contains("layer"));
  EXPECT_EQ(lines_[1]["layer"], 3);
  EXPECT_THAT(lines_[1]["order_prefix"], ElementsAre(1, 2));
  EXPECT_THAT(err_, HasSubstr("2 rows, 2.00 experts a row"));
}

TEST_F(RouteTest, ACalibrationFileGivesThePValuesOfTheRowsLayer) {
  const std::string calibration =
      folder_.Write("tables.jsonl", std::string(R"({"layer": 0, )") + kTable + "}\n" +
                                        R"({"layer": 1, "x0": 0, "dx": 4, "cdf": [0, 1]})");
  ASSERT_EQ(Run({"--policy", "bh=1,calibration=mine", "--calibration", calibration, "--logits",
                 "-"},
                std::string(R"({"layer": 0, "logits": [4, 3, 2, 1]})") + "\n" +
                    R"({"layer": 1, "logits": [4, 3, 2, 1]})" + "\n" +
                    R"({"layer": 2, "logits": [4, 3, 2, 1]})"),
            ExitCode::kOk);
  EXPECT_THAT(lines_[0]["p_first"], ElementsAre(0.5, 0.625, 0.75, 0.875));
  EXPECT_EQ(lines_[0]["k_raw"], 4);
  EXPECT_THAT(lines_[1]["p_first"], ElementsAre(1e-12, 0.25, 0.5, 0.75));
  EXPECT_EQ(lines_[2], json({{"layer", 2}, {"error", "NO_TABLE"}}));
  EXPECT_THAT(err_, HasSubstr("3 rows, 1 without a decision, 4.00 experts a row"));
}

TEST_F(RouteTest, LayersOfThePolicyAndItsAnalyzedRuleApply) {
  ASSERT_EQ(Run({"--policy", "top-k=1,layers=0/top-k=3,layers=1/top-k=4,analyze", "--logits",
                 "-", "--default-k", "2"},
                std::string(R"({"layer": 0, "logits": [4, 3, 2, 1]})") + "\n" +
                    R"({"layer": 1, "logits": [4, 3, 2, 1]})" + "\n" +
                    R"({"layer": 2, "logits": [4, 3, 2, 1]})"),
            ExitCode::kOk);
  EXPECT_EQ(lines_[0]["k"], 1);
  EXPECT_EQ(lines_[1]["k"], 3);
  EXPECT_EQ(lines_[2]["k"], 2);  // the model's own
  EXPECT_EQ(lines_[1]["candidate"]["k"], 4);
  EXPECT_EQ(lines_[1]["intersection"], 3);
  EXPECT_EQ(lines_[1]["union"], 4);
}

TEST_F(RouteTest, TheModelsOwnWeightsFollowItsConfiguration) {
  ASSERT_EQ(Run({"--policy", "native", "--logits", "-", "--default-k", "2", "--norm-topk-prob"},
                kRow),
            ExitCode::kOk);
  EXPECT_NEAR(lines_[0]["weights"][0].get<double>() + lines_[0]["weights"][1].get<double>(), 1,
              1e-6);
}

TEST_F(RouteTest, ARowThatIsNotFiniteIsItsOwnError) {
  ASSERT_EQ(Run({"--policy", "top-k=2", "--logits", "-"}, R"([1, "NaN", 3])"), ExitCode::kOk);
  EXPECT_EQ(lines_[0], json({{"error", "NON_FINITE_LOGIT"}}));
}

TEST_F(RouteTest, LinesThatAreNoLogitsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[1, 2\n", "line 1: is not JSON"},
      {"[1, 2]\n[1, 2, 3]\n", "line 2: has 3 logits, the first row 2"},
      {"[]", "must have 1..128 logits, has 0"},
      {"[1, \"two\"]", "logits[1]: must be a number"},
      {"{\"layer\": -1, \"logits\": [1]}", "layer: must be a whole number from 0 to 1023"},
      {"{\"layer\": 0}", "logits: is missing"},
      {"3", "must be an object"},
  };
  for (const auto& [input, message] : cases) {
    EXPECT_EQ(Run({"--policy", "top-k=1", "--logits", "-"}, input), ExitCode::kUsage) << input;
    EXPECT_THAT(err_, HasSubstr(message));
  }
}

TEST_F(RouteTest, EveryBadFieldOfAPolicyIsNamed) {
  EXPECT_EQ(Run({"--policy", "top-p=1.5,min=5", "--logits", "-"}, kRow), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("policy.apply.top_p.p"));
  EXPECT_THAT(err_, HasSubstr("policy.apply.top_p.min_k"));
}

TEST_F(RouteTest, BadUsage) {
  const std::string file = folder_.Write("x", "[1]");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"--policy", "top-k=1"}, {"--logits", file},
        {"--policy", "nonsense=1", "--logits", file}, {"--cases", file + ".absent"},
        {"--policy", "top-k=1", "--logits", file, "--cases", file}, {"--tables", file},
        {"--policy", "top-k=1", "--logits", file + ".safetensors"},
        {"--policy", "top-k=1", "--logits", file + ".absent"}}) {
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
  }
}

TEST_F(RouteTest, CasesThatAreNoneAreNamed) {
  const std::string cases = folder_.Write("cases.jsonl", R"({"E": 2, "k0": 1, "logits": [1], "policy": 7})");
  EXPECT_EQ(Run({"--cases", cases}), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("cases.jsonl: line 1: logits: must have E = 2 values, has 1"));
}

TEST(VectorFile, CountsThatFitNoIntegerAreInvalidAndNotWrapped) {
  const auto decided = DecideCase(
      R"({"E": 2, "k0": 1, "logits": [1, 2], "policy": {"kind": "MIN_P", "ratio": "NaN",
          "min_k": 4294967297, "max_k": -1, "weight_mode": "NATIVE"}})",
      {});
  ASSERT_TRUE(decided.ok()) << decided.status();
  EXPECT_EQ(decided->dump(), R"({"invalid":["max_k","min_k","ratio"]})");
}

TEST(CalibrationFile, TablesMayBeNamedOrNot) {
  const auto tables = ParseCdfTables(
      std::string(R"([{"calibration": "a", "layer": 1, )") + kTable + R"(}, {"layer": 2, )" +
      kTable + "}]");
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_NE(FindTable(*tables, "a", 1), nullptr);
  EXPECT_EQ(FindTable(*tables, "b", 1), nullptr);
  EXPECT_NE(FindTable(*tables, "b", 2), nullptr);
  EXPECT_EQ(FindTable(*tables, "b", 3), nullptr);
}

TEST(CalibrationFile, WhatTheServerExportsIsRead) {
  const auto tables = ParseCdfTables(
      std::string(R"({"calibration":"a","layers":[)") + "\n{" + kTable + "},\n{" + kTable +
      "}\n]}\n");
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_EQ(tables->size(), 2u);
  EXPECT_NE(FindTable(*tables, "a", 1), nullptr);
}

TEST(CalibrationFile, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "line 1: is not JSON"},
      {R"({"x0": 0, "dx": 1, "cdf": [0, 2]})", "cdf[1]: must be in [0, 1]"},
      {R"({"x0": 0, "dx": 0, "cdf": [0, 1]})", "dx: must be > 0"},
      {R"({"x0": 0, "dx": 1})", "cdf: is missing"},
      {R"([{"x0": 0, "dx": 1, "cdf": [0, 1]}, {"layer": 0, "x0": 0, "dx": 1, "cdf": [0, 1]}])",
       "layer 0 of \"\" occurs twice"},
      {"[[]]", "must be an object"},
      {R"({"layers": 3})", "layers: must be an array of tables"},
      {R"({"calibration": 3, "layers": []})", "calibration: must be a string"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(std::string(ParseCdfTables(text).status().message()), HasSubstr(message)) << text;
  }
}

// Two positions, two layers, three experts.
Recording SmallRecording() {
  v1::GetModelInfoResponse model;
  model.set_model_id("small");
  model.set_num_layers(2);
  model.set_num_experts(3);
  model.set_default_top_k(1);
  v1::RoutingStamp stamp;
  stamp.set_policy_digest("d1");
  Recording recording;
  recording.Describe(model, stamp);
  const std::vector<float> logits = {3, 2, 1, 1, 2, 3, 5, 5, 0, 0, 0, 9};
  const std::vector<float> weights = {0.6f, 0.6f, 0.2f, 0.4f, 0.9f};
  v1::RoutingTrace trace;
  trace.set_first_position(4);
  trace.set_num_positions(2);
  trace.set_num_layers(2);
  trace.set_counts(std::string("\1\2\1\1", 4));
  trace.set_experts(std::string("\0\2\1\0\2", 5));
  trace.set_weights(weights.data(), weights.size() * sizeof(float));
  trace.set_logits(logits.data(), logits.size() * sizeof(float));
  const std::vector<int32_t> tokens = {70, 71};
  EXPECT_TRUE(recording.Append(trace, 6, tokens).ok());
  return recording;
}

TEST_F(RouteTest, ARecordingIsRoutedWithItsLayersAndComparedWithWhatRan) {
  const std::string path = folder_.path() + "/trace.safetensors";
  ASSERT_TRUE(SmallRecording().Write(path).ok());
  ASSERT_EQ(Run({"--policy", "top-k=1", "--logits", path}), ExitCode::kOk);
  ASSERT_EQ(lines_.size(), 4u);
  EXPECT_EQ(lines_[1]["item"], 6);
  EXPECT_EQ(lines_[1]["position"], 4);
  EXPECT_EQ(lines_[1]["layer"], 1);
  EXPECT_THAT(lines_[1]["order_prefix"], ElementsAre(2));
  EXPECT_TRUE(lines_[0]["as_recorded"]);
  EXPECT_FALSE(lines_[1]["as_recorded"]);
  EXPECT_THAT(err_, HasSubstr("4 rows, 1.00 experts a row; recorded 1.25, the same experts in 3"));
  EXPECT_EQ(Run({"--policy", "top-k=1,layers=2", "--logits", path}), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("policy.layer_overrides[0].layers[0]"));
}

TEST(Recording, ReadsBackWhatWasWritten) {
  testing::TempFolder folder;
  const std::string path = folder.path() + "/trace.safetensors";
  const Recording written = SmallRecording();
  ASSERT_TRUE(written.Write(path).ok());
  const auto read = Recording::Read(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->shape, written.shape);
  EXPECT_EQ(read->metadata, written.metadata);
  EXPECT_THAT(read->tokens, ElementsAre(70, 71));
  EXPECT_THAT(read->positions, ElementsAre(4, 5));
  EXPECT_THAT(read->items, ElementsAre(6, 6));
  EXPECT_THAT(read->offsets, ElementsAre(0, 1, 3, 4, 5));
  EXPECT_EQ(read->counts, written.counts);
  EXPECT_EQ(read->experts, written.experts);
  EXPECT_EQ(read->weights, written.weights);
  EXPECT_EQ(read->logits, written.logits);
  EXPECT_THAT(read->ExpertsOf(1), ElementsAre(2, 1));
}

TEST(Recording, AnEmptyOneIsAFileToo) {
  testing::TempFolder folder;
  Recording recording;
  recording.shape = SmallRecording().shape;
  recording.metadata = SmallRecording().metadata;
  const std::string path = folder.path() + "/trace.safetensors";
  ASSERT_TRUE(recording.Write(path).ok());
  const auto read = Recording::Read(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->num_rows(), 0u);
}

TEST(Recording, ATraceThatIsNotWholeIsRefused) {
  Recording recording = SmallRecording();
  v1::RoutingTrace trace;
  trace.set_num_positions(1);
  trace.set_num_layers(2);
  trace.set_counts(std::string("\1\1", 2));
  trace.set_experts(std::string("\0\0", 2));
  const std::vector<int32_t> tokens = {1};
  EXPECT_EQ(recording.Append(trace, 0, tokens).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(recording.num_rows(), 2u);
}

TEST(Recording, FilesThatAreNoneAreRefusedByName) {
  testing::TempFolder folder;
  const std::string path = folder.path() + "/trace.safetensors";
  EXPECT_THAT(std::string(Recording::Read(path).status().message()), HasSubstr(path));
  const auto refused = [&path](const Recording& recording) {
    EXPECT_TRUE(recording.Write(path).ok());
    return std::string(Recording::Read(path).status().message());
  };
  Recording recording = SmallRecording();
  recording.offsets[1] = 2;
  EXPECT_THAT(refused(recording), HasSubstr("offsets[1] is not what counts say"));
  recording = SmallRecording();
  recording.experts.push_back(0);
  recording.weights.push_back(0);
  EXPECT_THAT(refused(recording), HasSubstr("offsets do not end with the experts"));
  recording = SmallRecording();
  recording.offsets.pop_back();
  EXPECT_THAT(refused(recording), HasSubstr("the same number of rows"));
  recording = SmallRecording();
  recording.metadata["format"] = "another";
  EXPECT_THAT(refused(recording), HasSubstr("is not a routing trace"));
  recording = SmallRecording();
  recording.metadata["default_top_k"] = "4";
  EXPECT_THAT(refused(recording), HasSubstr("default_top_k"));
}

TEST(Recording, AnUnwritableFileIsAnErrorThatNamesIt) {
  const std::string path = "/no/such/folder/trace.safetensors";
  EXPECT_THAT(std::string(SmallRecording().Write(path).message()), HasSubstr(path));
}

}  // namespace
}  // namespace olmoe::client
