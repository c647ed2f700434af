#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/notation/policy_spec.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "tests/client/app_fixture.h"

namespace olmoe::client::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Of two layers, the second as if every expert ran for every other token.
v1::ArmExpertStats Stats(const std::string& arm, const std::vector<uint64_t>& expert_tokens,
                         v1::Phase phase = v1::PHASE_DECODE) {
  v1::ArmExpertStats stats;
  stats.set_arm_id(arm);
  stats.set_policy_id("p");
  stats.set_kind(v1::DECISION_KIND_APPLIED);
  stats.set_phase(phase);
  for (uint32_t index = 0; index < 2; ++index) {
    v1::LayerExpertStats* layer = stats.add_layers();
    layer->set_layer(index);
    layer->set_tokens(1000);
    for (const uint64_t tokens : expert_tokens) {
      layer->add_expert_tokens(index == 0 ? tokens : 500);
    }
  }
  return stats;
}

class ExpertsDiffTest : public AppFixture {
 protected:
  ExpertsDiffTest() {
    *server_.stats_response.add_arms() = Stats("control", {500, 500, 500, 500});
    *server_.stats_response.add_arms() = Stats("wide", {900, 500, 505, 100});
    server_.model_info.set_default_top_k(8);
  }

  nlohmann::json Json() { return nlohmann::json::parse(out_.str()); }

  // A file of what is on standard output.
  std::string Save(const std::string& name) {
    const std::string path = ::testing::TempDir() + "/" + name;
    std::ofstream(path) << out_.str();
    return path;
  }

  std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return std::move(text).str();
  }
};

TEST_F(ExpertsDiffTest, MarksTheExpertsThatChanceDoesNotExplain) {
  ASSERT_EQ(Run({"experts", "diff", "control", "wide"}), ExitCode::kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("(*, q <= 0.05): 2 of 8 experts; by layer: 0: 2, 1: 0\n"));
  EXPECT_THAT(out_.str(), HasSubstr("    0       0  50.00%  90.00%     +40.00%  "));
  EXPECT_THAT(out_.str(),
              HasSubstr("    0       2  50.00%  50.50%      +0.50%     0.82        1\n"));
  ASSERT_EQ(Run({"experts", "diff", "control", "wide", "--alpha", "1"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("q <= 1): 8 of 8 experts"));
}

TEST_F(ExpertsDiffTest, JsonHasBothArmsAndTheTestOfEveryExpert) {
  ASSERT_EQ(Run({"experts", "diff", "control", "wide", "--json"}), ExitCode::kOk);
  const auto json = Json();
  ASSERT_EQ(json["arms"].size(), 2u);
  EXPECT_EQ(json["arms"][1]["arm_id"], "wide");
  const auto& comparison = json["comparison"];
  EXPECT_EQ(comparison["alpha"], 0.05);
  EXPECT_EQ(comparison["layers"][0]["significant"], 2);
  EXPECT_EQ(comparison["layers"][1]["total_variation"], 0.0);
  ASSERT_EQ(comparison["experts"].size(), 8u);
  const auto& expert = comparison["experts"][3];
  EXPECT_EQ(expert["layer"], 0);
  EXPECT_EQ(expert["expert"], 3);
  EXPECT_EQ(expert["from"], 0.5);
  EXPECT_EQ(expert["to"], 0.1);
  EXPECT_NEAR(expert["difference"].get<double>(), -0.4, 1e-12);
  EXPECT_EQ(expert["test"], "chi-squared");
  EXPECT_LT(expert["p"].get<double>(), 1e-50);
  EXPECT_NEAR(expert["q"].get<double>(), 4 * expert["p"].get<double>(), 1e-60);
  EXPECT_TRUE(expert["significant"].get<bool>());
  EXPECT_FALSE(json.contains("steering"));
}

TEST_F(ExpertsDiffTest, AnArmIsComparedWithWhatItWas) {
  ASSERT_EQ(Run({"experts", "--json"}), ExitCode::kOk);
  const std::string before = Save("before.json");
  server_.stats_response.Clear();
  *server_.stats_response.add_arms() = Stats("control", {500, 500, 500, 700});
  ASSERT_EQ(Run({"experts", "diff", "control", "control", "--from-file", before}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("    0       3  50.00%  70.00%     +20.00%"));
  EXPECT_THAT(err_.str(), StartsWith("[the current plan's policies"));
  // Two files need no server.
  server_.failure = absl::UnavailableError("not asked");
  ASSERT_EQ(Run({"experts", "diff", "control", "wide", "--from-file", before, "--to-file", before,
                 "--layers", "1"}),
            ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr(": 0 of 4 experts; by layer: 1: 0\n"));
  EXPECT_EQ(err_.str(), "");
  EXPECT_EQ(
      Run({"experts", "diff", "control", "nobody", "--from-file", before, "--to-file", before}),
      ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("before.json: no token was routed by nobody"));
}

TEST_F(ExpertsDiffTest, WhatItPrintedIsAFileToo) {
  ASSERT_EQ(Run({"experts", "diff", "control", "wide", "--json"}), ExitCode::kOk);
  const std::string both = Save("both.json");
  ASSERT_EQ(Run({"experts", "diff", "wide", "control", "--from-file", both, "--to-file", both}),
            ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("    0       0  90.00%  50.00%     -40.00%"));
}

TEST_F(ExpertsDiffTest, APhaseIsComparedWithAnother) {
  *server_.stats_response.add_arms() = Stats("control", {100, 500, 500, 500}, v1::PHASE_PREFILL);
  ASSERT_EQ(Run({"experts", "diff", "control@prefill", "control@decode"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("    0       0  10.00%  50.00%     +40.00%"));
  EXPECT_THAT(out_.str(), HasSubstr("applied, prefill: 1000 tokens"));
  ASSERT_EQ(Run({"experts", "diff", "control", "control:p@decode"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("    0       0  30.00%  50.00%     +20.00%"));
  EXPECT_EQ(Run({"experts", "diff", "control@lunch", "wide"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("\"lunch\" is no phase; phases: prefill, decode, score"));
  EXPECT_EQ(Run({"experts", "diff", "control@decode", "wide", "--phase", "score"}),
            ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--phase and control@decode: one of the two"));
}

TEST_F(ExpertsDiffTest, SteersTowardTheSecondArm) {
  const std::string path = ::testing::TempDir() + "/steer.json";
  ASSERT_EQ(Run({"experts", "diff", "control", "wide", "--suggest-steer", "2", "--plan-out", path}),
            ExitCode::kOk)
      << err_.str();
  EXPECT_THAT(
      out_.str(),
      HasSubstr("\nTo route more as the second: toward 2 experts (1 significant), away from "
                "1 experts (1 significant)\n"
                "  olmoectl patch --policy steer-3@top-k=8,toward=0+2,away=3,layers=0\n"
                "  olmoectl patch --plan " +
                path + "\n"));
  // Both ways `patch` publishes the same.
  ASSERT_EQ(Run({"patch", "--plan", path}), ExitCode::kOk) << err_.str();
  ASSERT_EQ(server_.patch_request.plan().arms_size(), 1);
  const v1::RoutingPolicy from_plan = server_.patch_request.plan().arms(0).policy();
  ASSERT_EQ(Run({"patch", "--policy", "steer-3@top-k=8,toward=0+2,away=3,layers=0"}),
            ExitCode::kOk);
  EXPECT_EQ(from_plan.policy_id(), server_.patch_request.policy().policy_id());
  EXPECT_EQ(notation::FormatPolicySpec(from_plan),
            notation::FormatPolicySpec(server_.patch_request.policy()));
  const v1::Rule& rule = from_plan.layer_overrides(0).apply();
  EXPECT_EQ(rule.top_k().k(), 8u);
  EXPECT_THAT(rule.adjust().steer().toward(), ElementsAre(0, 2));
  EXPECT_THAT(rule.adjust().steer().away(), ElementsAre(3));
}

TEST_F(ExpertsDiffTest, SteeringIsInTheJsonToo) {
  ASSERT_EQ(Run({"experts", "diff", "wide", "control", "--suggest-steer", "1", "--steer-k", "4",
                 "--json"}),
            ExitCode::kOk);
  const auto steering = Json()["steering"];
  EXPECT_EQ(steering["k"], 4);
  EXPECT_EQ(steering["policy"], "steer-2@top-k=4,toward=3,away=0,layers=0");
  EXPECT_EQ(steering["toward"][0]["expert"], 3);
  EXPECT_EQ(steering["away"][0]["expert"], 0);
  v1::RoutingPlan plan;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(steering["plan"].dump(), &plan).ok());
  EXPECT_EQ(notation::FormatPolicySpec(plan.arms(0).policy()), "top-k=4,toward=3,away=0,layers=0");
}

TEST_F(ExpertsDiffTest, WhereNothingDiffersThereIsNothingToSteer) {
  EXPECT_EQ(Run({"experts", "diff", "wide", "wide", "--suggest-steer", "3"}), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("no expert's share differs"));
}

TEST_F(ExpertsDiffTest, WhatIsWrongIsTold) {
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--alpha", "1.5"},
           {"--alpha", "nan"},
           {"--suggest-steer", "0"},
           {"--steer-k", "4"},
           {"--plan-out", "x"},
           {"--suggest-steer", "1", "--plan-out", "/no/such/folder/x"},
           {"--from-file", "/no/such/file"}}) {
    std::vector<std::string> arguments = {"experts", "diff", "control", "wide"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(flags);
  }
  out_.str("[1, 2]");
  const std::string bad = Save("bad.json");
  EXPECT_EQ(Run({"experts", "diff", "control", "wide", "--to-file", bad}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("bad.json: is not what `experts --json` prints"));
  out_.str(R"({"arms": [{"arm_id": "wide", "kind": "DECISION_KIND_APPLIED", "layers": [
      {"expert_tokens": ["7", "1", "1", "1"], "tokens": "5"}]}]})");
  const std::string impossible = Save("impossible.json");
  EXPECT_EQ(Run({"experts", "diff", "control", "wide", "--to-file", impossible}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("layer 0: expert 0 ran for 7 tokens, more than the 5"));
}

}  // namespace
}  // namespace olmoe::client::commands
