// `olmoectl route` in this process: files, lines, recordings.
#include <sstream>
#include <string>
#include <vector>

#include "client/app.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/trace/small_recording.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client::commands {
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

TEST_F(RouteTest, ARouterIsNotForLogitsThatAreThere) {
  EXPECT_EQ(Run({"--policy", "native/router=tuned", "--logits", "-"}, kRow), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("policy.router: must not be set"));
}

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

TEST_F(RouteTest, ThePlaceOfARowIsGivenByFlagsAndByItsLine) {
  const std::string policy =
      "keep=\"expert == position || expert == layers || decode\"/"
      "keep=\"expert == position + decode\",decode";
  const std::string rows = std::string(kRow) + "\n" + R"({"position": 2, "logits": [4, 3, 2, 1]})";
  ASSERT_EQ(Run({"--policy", policy, "--logits", "-", "--position", "1", "--layers", "3",
                 "--prompt-tokens", "2"},
                rows),
            ExitCode::kOk)
      << err_;
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_THAT(lines_[0]["order_prefix"], ElementsAre(1, 3)) << "no prefix of the order";
  EXPECT_EQ(lines_[1]["position"], 2);
  EXPECT_THAT(lines_[1]["order_prefix"], ElementsAre(3)) << "late";
}

TEST_F(RouteTest, NoiseIsThatOfTheRoutingSeed) {
  const auto experts = [this](const std::string& seed) {
    EXPECT_EQ(Run({"--policy", "top-k=4,noise=10", "--logits", "-", "--routing-seed", seed}, kRow),
              ExitCode::kOk);
    return lines_.at(0)["order_prefix"];
  };
  EXPECT_EQ(experts("18446744073709551615"), experts("18446744073709551615"));
  EXPECT_NE(experts("1"), experts("3"));
}

TEST_F(RouteTest, ACalibrationFileGivesThePValuesOfTheRowsLayer) {
  const std::string calibration =
      folder_.Write("tables.jsonl", std::string(R"({"layer": 0, )") + kTable + "}\n" +
                                        R"({"layer": 1, "x0": 0, "dx": 4, "cdf": [0, 1]})");
  ASSERT_EQ(
      Run({"--policy", "bh=1,calibration=mine", "--calibration", calibration, "--logits", "-"},
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
  ASSERT_EQ(Run({"--policy", "top-k=1,layers=0/top-k=3,layers=1/top-k=4,analyze", "--logits", "-",
                 "--default-k", "2"},
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
  ASSERT_EQ(
      Run({"--policy", "native", "--logits", "-", "--default-k", "2", "--norm-topk-prob"}, kRow),
      ExitCode::kOk);
  EXPECT_NEAR(lines_[0]["weights"][0].get<double>() + lines_[0]["weights"][1].get<double>(), 1,
              1e-6);
}

TEST_F(RouteTest, ARowThatIsNotFiniteIsItsOwnError) {
  ASSERT_EQ(Run({"--policy", "top-k=2", "--logits", "-"}, "[1, \"NaN\", 3]\n[1, 2, 3]"),
            ExitCode::kOk);
  EXPECT_EQ(lines_[0], json({{"error", "NON_FINITE_LOGIT"}}));
}

TEST_F(RouteTest, WhereNothingWasRoutedTheExitCodeSaysSo) {
  for (const char* input : {"", "\n\n", R"([1, "NaN", 3])"}) {
    EXPECT_EQ(Run({"--policy", "top-k=2", "--logits", "-"}, input), ExitCode::kFailed) << input;
    EXPECT_THAT(err_, HasSubstr("olmoectl: nothing was routed: standard input has no row"));
  }
  EXPECT_EQ(Run({"--policy", "bh=1,calibration=c", "--calibration",
                 folder_.Write("t.json", std::string(R"({"layer": 1, )") + kTable + "}"),
                 "--logits", "-"},
                R"({"layer": 0, "logits": [4, 3]})"),
            ExitCode::kFailed);
  EXPECT_EQ(Run({"--cases", folder_.Write("none.jsonl", "\n")}), ExitCode::kFailed);
}

TEST_F(RouteTest, LinesThatAreNoLogitsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[1, 2\n", "line 1: not JSON at byte 6"},
      {"[1, 2]\n[1, 2, 3]\n", "line 2: has 3 logits, the first row 2"},
      {"[]", "must have 1..128 logits, has 0"},
      {"[1, \"two\"]", "[1]: must be a number, is \"two\""},
      {"{\"layer\": -1, \"logits\": [1]}", "layer: must be an integer from 0 to 1023"},
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
       {std::vector<std::string>{},
        {"--policy", "top-k=1"},
        {"--logits", file},
        {"--policy", "nonsense=1", "--logits", file},
        {"--cases", file + ".absent"},
        {"--policy", "top-k=1", "--logits", file, "--cases", file},
        {"--tables", file},
        {"--policy", "top-k=1", "--logits", file + ".safetensors"},
        {"--policy", "top-k=1", "--logits", file + ".absent"}}) {
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
  }
}

TEST_F(RouteTest, CasesThatAreNoneAreNamed) {
  const std::string cases =
      folder_.Write("cases.jsonl", R"({"E": 2, "k0": 1, "logits": [1], "policy": 7})");
  EXPECT_EQ(Run({"--cases", cases}), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("cases.jsonl: line 1: logits: must have E = 2 values, has 1"));
}

TEST_F(RouteTest, ARecordingIsRoutedWithItsLayersAndComparedWithWhatRan) {
  const std::string path = folder_.path() + "/trace.safetensors";
  ASSERT_TRUE(trace::SmallRecording().Write(path).ok());
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

}  // namespace
}  // namespace olmoe::client::commands
