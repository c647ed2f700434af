// The commands that go to the admin port, against a fake server.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/app.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/app_fixture.h"
#include "tests/client/fake_server.h"

namespace olmoe::client::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class AdminAppTest : public AppFixture {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = ::testing::TempDir() + "/" + name;
    std::ofstream(path) << content;
    return path;
  }
};

v1::PlanRecord Record(uint64_t generation, uint32_t k) {
  v1::PlanRecord record;
  record.set_generation(generation);
  record.set_source("patch");
  record.set_digest("0123456789abcdef");
  record.mutable_activate_time()->set_seconds(0);
  auto* arm = record.mutable_plan()->add_arms();
  arm->set_arm_id("default");
  arm->mutable_policy()->mutable_apply()->mutable_top_k()->set_k(k);
  return record;
}

TEST_F(AdminAppTest, PatchWithArmsIsAPlan) {
  ASSERT_EQ(Run({"patch",
                 "--arm",
                 "control",
                 "--weight",
                 "90",
                 "--arm",
                 "wide",
                 "--weight",
                 "10",
                 "--top-k",
                 "16",
                 "--analyze",
                 "--salt",
                 "s",
                 "--note",
                 "n",
                 "--ttl",
                 "10m",
                 "--idempotency-key",
                 "key",
                 "--dry-run"}),
            ExitCode::kOk)
      << err_.str();
  const v1::PatchRoutersRequest& request = server_.patch_request;
  ASSERT_EQ(request.plan().arms_size(), 2);
  EXPECT_EQ(request.plan().arms(0).arm_id(), "control");
  EXPECT_EQ(request.plan().arms(0).weight(), 90u);
  EXPECT_FALSE(request.plan().arms(0).policy().has_analyze());
  EXPECT_EQ(request.plan().arms(1).policy().analyze().top_k().k(), 16u);
  EXPECT_EQ(request.plan().salt(), "s");
  EXPECT_EQ(request.plan().note(), "n");
  EXPECT_EQ(request.ttl().seconds(), 600);
  EXPECT_EQ(request.idempotency_key(), "key");
  EXPECT_TRUE(request.validate_only());
  EXPECT_FALSE(request.has_probe());
  EXPECT_THAT(out_.str(), StartsWith("valid: nothing is changed"));
}

TEST_F(AdminAppTest, ADryRunShowsThePlanThatWasCheckedAndNotTheCurrentOne) {
  *server_.patch_response.mutable_current() = Record(5, 8);
  auto* checked = server_.patch_response.mutable_checked();
  *checked = Record(0, 4);
  checked->set_digest("fedcba9876543210");
  server_.patch_response.add_probe_results()->set_arm_id("default");
  ASSERT_EQ(Run({"patch", "--top-k", "4", "--dry-run", "--probe", "x"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("valid: nothing is changed, generation 5 stays current\n"
                                     "checked plan: digest fedcba987654\n"
                                     "arm default: top 4\n"
                                     "PROBE OF ARM"));
  ASSERT_EQ(Run({"patch", "--top-k", "4", "--dry-run", "--json"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\"checked\":{"));
  checked->set_digest(server_.patch_response.current().digest());
  ASSERT_EQ(Run({"patch", "--top-k", "4", "--dry-run"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("digest 0123456789ab, which is that of the current plan\n"));
}

TEST_F(AdminAppTest, AMistakeMadeThriceIsToldOnce) {
  EXPECT_EQ(Run({"patch", "--arm", "a", "--weight", "1", "--weight", "2", "--weight", "3"}),
            ExitCode::kUsage);
  EXPECT_EQ(err_.str(), "olmoectl: --weight twice for arm a\n");
}

TEST_F(AdminAppTest, EveryRuleHasItsFlag) {
  ASSERT_EQ(Run({"patch", "--bh", "alpha=0.4,min=1,max=16,calibration=c", "--temperature", "2"}),
            ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.policy().apply().bh().alpha(), 0.4);
  EXPECT_EQ(server_.patch_request.policy().apply().bh().calibration_id(), "c");
  EXPECT_EQ(server_.patch_request.policy().apply().bh().temperature(), 2);
  ASSERT_EQ(Run({"patch", "--hc", "calibration=c"}), ExitCode::kOk);
  EXPECT_TRUE(server_.patch_request.policy().apply().has_hc());
  ASSERT_EQ(Run({"patch", "--top-p", "0.7,max=16"}), ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.policy().apply().top_p().max_k(), 16u);
  ASSERT_EQ(Run({"patch", "--min-p=0.1", "--policy-id", "m"}), ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.policy().apply().min_p().ratio(), 0.1);
  EXPECT_EQ(server_.patch_request.policy().policy_id(), "m");
  ASSERT_EQ(Run({"patch", "--policy", "thin@top-k=2/top-k=4,layers=0"}), ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.policy().policy_id(), "thin");
  EXPECT_EQ(server_.patch_request.policy().layer_overrides_size(), 1);
}

TEST_F(AdminAppTest, AProbeSaysHowManyOfTheRoutersItCovered) {
  server_.model_info.set_num_layers(16);
  server_.patch_response.add_probe_results()->set_layers_covered(4);
  ASSERT_EQ(Run({"patch", "--top-k", "4", "--probe", "some text", "--require-change"}),
            ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.probe().text(), "some text");
  EXPECT_TRUE(server_.patch_request.probe().require_change());
  EXPECT_THAT(out_.str(), HasSubstr(" 4 of 16\n"));
  ASSERT_EQ(Run({"patch", "--top-k", "4", "--require-change"}), ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.probe().text(), "");
}

TEST_F(AdminAppTest, APlanFileIsSentAsItIsAndAnUnknownFieldIsNamed) {
  const std::string plan =
      R"({"arms": [{"armId": "a", "weight": 1, "policy": {"policyId": "p"}}], "salt": "x"})";
  ASSERT_EQ(Run({"patch", "--plan", Write("plan.json", plan), "--note", "n"}), ExitCode::kOk);
  EXPECT_EQ(server_.patch_request.plan().arms(0).arm_id(), "a");
  EXPECT_EQ(server_.patch_request.plan().salt(), "x");
  EXPECT_EQ(server_.patch_request.plan().note(), "n");
  ASSERT_EQ(Run({"patch", "--plan", "-"}, plan), ExitCode::kOk);
  EXPECT_EQ(Run({"patch", "--plan", Write("bad.json", R"({"arms": [{"wieght": 1}]})")}),
            ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("bad.json is not a RoutingPlan in JSON: "));
  EXPECT_THAT(err_.str(), HasSubstr("wieght"));
}

TEST_F(AdminAppTest, RollbackAndRenewSendTheirGenerations) {
  server_.patch_response.set_changed(true);
  *server_.patch_response.mutable_current() = Record(5, 4);
  ASSERT_EQ(Run({"rollback"}), ExitCode::kOk);
  EXPECT_FALSE(server_.rollback_request.has_to_generation());
  EXPECT_THAT(out_.str(), HasSubstr("arm default: top 4\n"));
  ASSERT_EQ(Run({"rollback", "3", "--expect", "4"}), ExitCode::kOk);
  EXPECT_EQ(server_.rollback_request.to_generation(), 3u);
  EXPECT_EQ(server_.rollback_request.expected_generation(), 4u);
  EXPECT_FALSE(server_.rollback_request.has_ttl());
  server_.patch_response.mutable_current()->mutable_expire_time()->set_seconds(600);
  ASSERT_EQ(Run({"rollback", "--ttl", "10m"}), ExitCode::kOk);
  EXPECT_EQ(server_.rollback_request.ttl().seconds(), 600);
  EXPECT_THAT(out_.str(), HasSubstr(", until 1970-01-01 00:10:00 UTC\n"));
  server_.renew_response.mutable_expire_time()->set_seconds(60);
  server_.routing_response.mutable_current()->set_generation(17);
  ASSERT_EQ(Run({"renew", "--ttl", "5m"}), ExitCode::kOk);
  EXPECT_EQ(server_.renew_request.generation(), 17u);
  EXPECT_EQ(out_.str(), "renewed: generation 17, until 1970-01-01 00:01:00 UTC\n");
  ASSERT_EQ(Run({"renew", "5", "--ttl", "1h30m"}), ExitCode::kOk);
  EXPECT_EQ(server_.renew_request.generation(), 5u);
  EXPECT_EQ(server_.renew_request.ttl().seconds(), 5400);
  EXPECT_EQ(out_.str(), "renewed: generation 5, until 1970-01-01 00:01:00 UTC\n");
}

TEST_F(AdminAppTest, HistoryGoesThroughThePagesThatItNeeds) {
  for (uint64_t generation = 150; generation > 0; --generation) {
    server_.history.push_back(Record(generation, 4));
  }
  server_.history.front().mutable_expire_time()->set_seconds(9);
  ASSERT_EQ(Run({"history", "-n", "2"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(),
            "GENERATION  ACTIVATED                UNTIL                    SOURCE  ACTOR  "
            "DIGEST        ROUTING\n"
            "       150  1970-01-01 00:00:00 UTC  1970-01-01 00:00:09 UTC  patch          "
            "0123456789ab  top-k=4\n"
            "       149  1970-01-01 00:00:00 UTC                           patch          "
            "0123456789ab  top-k=4\n");
  EXPECT_EQ(err_.str(), "older plans: --limit 0\n");
  ASSERT_EQ(Run({"history", "--limit", "0"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\n         1  "));
  EXPECT_EQ(err_.str(), "");
  ASSERT_EQ(Run({"history", "--limit", "120", "--json"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\"next_page_token\":\"120\""));
}

TEST_F(AdminAppTest, WatchedRoutingIsPrintedAsItComes) {
  *server_.routing_events.emplace_back().mutable_current() = Record(7, 2);
  server_.routing_events.emplace_back().set_drained_generation(6);
  ASSERT_EQ(Run({"routing", "--watch"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("generation 7 by patch"));
  EXPECT_THAT(out_.str(), HasSubstr("\n\ndrained: generation 6\n"));
  ASSERT_EQ(Run({"routing", "--watch", "--json"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\n{\"drained_generation\":\"6\"}\n"));
}

TEST_F(AdminAppTest, ExplainSplitsManyUnitsIntoCalls) {
  ASSERT_EQ(Run({"explain", "alice", "bob"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(),
            "UNIT   BUCKET  ARM\n"
            "alice       1  control\n"
            "bob         1  control\n");
  EXPECT_EQ(err_.str(), "[2 units: control 100.0%]\n");
  std::string lines;
  for (int unit = 0; unit < 1500; ++unit) absl::StrAppend(&lines, "u", unit, "\r\n\n");
  const std::string plan = Write("explain.json", R"({"salt": "x"})");
  ASSERT_EQ(Run({"explain", "-", "--plan", plan}, lines), ExitCode::kOk);
  ASSERT_EQ(server_.explain_requests.size(), 3u);
  EXPECT_EQ(server_.explain_requests[1].unit_ids_size(), 1000);
  EXPECT_EQ(server_.explain_requests[2].unit_ids(499), "u1499");
  EXPECT_EQ(server_.explain_requests[2].plan().salt(), "x");
}

v1::ArmExpertStats Stats(const std::string& arm, v1::Phase phase) {
  v1::ArmExpertStats stats;
  stats.set_arm_id(arm);
  stats.set_policy_id("p");
  stats.set_kind(v1::DECISION_KIND_APPLIED);
  stats.set_phase(phase);
  auto* layer = stats.add_layers();
  layer->set_tokens(2);
  for (const uint64_t count : {2, 2}) layer->add_expert_tokens(count);
  for (const uint64_t count : {0, 0, 2}) layer->add_experts_per_token(count);
  return stats;
}

TEST_F(AdminAppTest, ExpertsAreAskedForByFilterAndShownInFourForms) {
  *server_.stats_response.add_arms() = Stats("control", v1::PHASE_PREFILL);
  *server_.stats_response.add_arms() = Stats("control", v1::PHASE_DECODE);
  server_.stats_response.set_cursor("c2");
  ASSERT_EQ(Run({"experts", "--arm", "control", "--layers", "0-1", "--kind", "analyzed", "--since",
                 "c-1", "--format", "heatmap"}),
            ExitCode::kOk);
  EXPECT_THAT(server_.stats_request.arm_ids(), ElementsAre("control"));
  EXPECT_THAT(server_.stats_request.layers(), ElementsAre(0, 1));
  EXPECT_THAT(server_.stats_request.kinds(), ElementsAre(v1::DECISION_KIND_ANALYZED));
  EXPECT_EQ(server_.stats_request.since_cursor(), "c-1");
  EXPECT_THAT(out_.str(), HasSubstr("all phases: 4 tokens, mean k 2.00"));
  EXPECT_THAT(out_.str(), HasSubstr("load, 1 = even"));
  ASSERT_EQ(Run({"experts", "--phase", "decode"}), ExitCode::kOk);  // a table: no terminal
  EXPECT_THAT(out_.str(), HasSubstr("applied, decode: 2 tokens"));
  EXPECT_THAT(out_.str(), HasSubstr("LAYER  MEAN K"));
  EXPECT_EQ(err_.str(),
            "[the current plan's policies (--all: earlier ones too), 1970-01-01 00:00:00 "
            "UTC to 1970-01-01 00:00:00 UTC]\n");
  ASSERT_EQ(Run({"experts", "--format", "csv"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("control,p,,applied,prefill,0,1,2,2,1\n"));
  ASSERT_EQ(Run({"experts", "--format", "json"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\"cursor\":\"c2\""));
}

TEST_F(AdminAppTest, ExpertsAreThoseOfTheCurrentPlanUnlessAskedOtherwise) {
  *server_.stats_response.add_arms() = Stats("control", v1::PHASE_DECODE);
  ASSERT_EQ(Run({"experts"}), ExitCode::kOk);
  EXPECT_TRUE(server_.stats_request.current_plan());
  ASSERT_EQ(Run({"experts", "--all"}), ExitCode::kOk);
  EXPECT_FALSE(server_.stats_request.current_plan());
  EXPECT_THAT(err_.str(), StartsWith("[all plans, "));
  ASSERT_EQ(Run({"experts", "--policy", "p"}), ExitCode::kOk);
  EXPECT_FALSE(server_.stats_request.current_plan());
  EXPECT_THAT(out_.str(), HasSubstr("policy p"));
  EXPECT_EQ(Run({"experts", "--policy", "q"}), ExitCode::kRefused);
  EXPECT_THAT(err_.str(), HasSubstr("no token was routed by a policy \"q\"; counted are: p"));
  ASSERT_EQ(Run({"experts", "--since", "5m"}), ExitCode::kOk);
  EXPECT_EQ(server_.stats_request.since().seconds(), 300);
  EXPECT_EQ(server_.stats_request.since_cursor(), "");
  EXPECT_EQ(Run({"experts", "--since", "soon"}), ExitCode::kUsage);
  ASSERT_EQ(Run({"experts", "--watch", "--all"}), ExitCode::kOk);
  EXPECT_FALSE(server_.watch_stats_request.filter().current_plan());
  server_.failure = absl::InvalidArgumentError("arm_ids[0]: no");
  EXPECT_EQ(Run({"experts", "--arm", "old"}), ExitCode::kRefused);
  EXPECT_THAT(err_.str(), HasSubstr("--all also shows the arms of earlier plans"));
}

TEST_F(AdminAppTest, WatchedExpertsComeAtTheIntervalAskedFor) {
  *server_.stats_response.add_arms() = Stats("control", v1::PHASE_DECODE);
  ASSERT_EQ(Run({"experts", "--watch", "--interval", "500ms", "--arm", "control"}), ExitCode::kOk);
  EXPECT_EQ(server_.watch_stats_request.interval().nanos(), 500000000);
  EXPECT_THAT(server_.watch_stats_request.filter().arm_ids(), ElementsAre("control"));
  EXPECT_THAT(out_.str(), StartsWith("until 1970-01-01 00:00:00 UTC, every 500ms"));
  EXPECT_EQ(out_.str().find('\x1b'), std::string::npos);  // nothing is redrawn in a pipe
}

TEST_F(AdminAppTest, ExpertsOfTwoArmsAreCompared) {
  *server_.stats_response.add_arms() = Stats("control", v1::PHASE_DECODE);
  *server_.stats_response.add_arms() = Stats("wide", v1::PHASE_DECODE);
  ASSERT_EQ(Run({"experts", "diff", "control", "wide", "--layers", "0"}), ExitCode::kOk);
  EXPECT_THAT(server_.stats_request.kinds(), ElementsAre(v1::DECISION_KIND_APPLIED));
  EXPECT_THAT(out_.str(), StartsWith("from arm control, policy p"));
  EXPECT_THAT(out_.str(), HasSubstr("\n0 .. 0.000 0.000\n"));
  EXPECT_EQ(Run({"experts", "diff", "control", "nobody"}), ExitCode::kRefused);
  EXPECT_THAT(err_.str(), HasSubstr("control:p, wide:p"));
  EXPECT_EQ(Run({"experts", "diff", "control", "wide", "--watch"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--watch: is not a flag of experts diff"));
}

TEST_F(AdminAppTest, PutAndRouteTakeTheSameCalibrationFiles) {
  const std::vector<std::string> same = {
      R"({"layers": [{"x": [0, 8], "cdf": [0, 1]}]})", R"([{"x0": 0, "dx": 8, "cdf": [0, 1]}])",
      R"({"calibration": "c", "layers": [{"layer": 0, "x0": 0, "dx": 8, "cdf": [0, 1]}]})",
      R"({"layer": 0, "x0": 0, "dx": 8, "cdf": [0, 1], "survival": [1, 0]})",
      R"({"calibration": "b", "layer": 0, "x0": 0, "dx": 1, "cdf": [0, 1]})"
      "\n"
      R"({"calibration": "c", "layer": 0, "x": [0, 8], "cdf": [0, 1]})"};
  const auto put = [this](const std::string& file) {
    server_.put_messages.clear();
    return Run({"calibration", "put", "c", file});
  };
  const auto route = [this](const std::string& file) {
    return Run({"route", "--policy", "bh=1,calibration=c", "--calibration", file, "--logits", "-"},
               "[4, 3, 2, 1]");
  };
  for (const std::string& text : same) {
    SCOPED_TRACE(text);
    const std::string file = Write("calibration.json", text);
    ASSERT_EQ(put(file), ExitCode::kOk) << err_.str();
    ASSERT_EQ(server_.put_messages.size(), 1u);
    EXPECT_EQ(server_.put_messages[0].layer_cdf().x0(), 0);
    EXPECT_EQ(server_.put_messages[0].layer_cdf().dx(), 8);
    ASSERT_EQ(route(file), ExitCode::kOk) << err_.str();
    EXPECT_THAT(out_.str(), HasSubstr("\"p_first\":[0.5,0.625,0.75,0.875]"));
  }
  for (const char* text : {"", "{", "[]", R"([{"x": [0, 1, 3], "cdf": [0, 0.5, 1]}])"}) {
    const std::string file = Write("calibration.json", text);
    ASSERT_EQ(put(file), ExitCode::kUsage) << text;
    const std::string reason = err_.str();
    EXPECT_THAT(reason, HasSubstr(file));
    EXPECT_EQ(route(file), ExitCode::kUsage) << text;
    EXPECT_EQ(err_.str(), reason);
  }
}

TEST_F(AdminAppTest, ACalibrationGoesUpAndComesDown) {
  server_.calibration.set_calibration_id("c");
  server_.calibration.set_num_layers(2);
  const std::string file = Write("calibration.json", R"({"layers": [{"x0": 0, "dx": 1, "cdf":
      [0, 1]}, {"x0": 0.5, "dx": 0.25, "cdf": [0, 0.1, 1]}]})");
  ASSERT_EQ(Run({"calibration", "put", "c", file}), ExitCode::kOk) << err_.str();
  ASSERT_EQ(server_.put_messages.size(), 2u);
  EXPECT_EQ(server_.put_messages[0].calibration_id(), "c");
  EXPECT_EQ(server_.put_messages[1].calibration_id(), "");
  EXPECT_EQ(server_.put_messages[1].layer_cdf().layer(), 1u);
  EXPECT_EQ(out_.str(),
            "CALIBRATION  DIGEST  LAYERS  TOKENS  TRIMMED  IN USE\n"
            "c                         2       0        0  no\n");
  for (const auto& message : server_.put_messages) {
    server_.calibration_layers.push_back(message.layer_cdf());
  }
  ASSERT_EQ(Run({"calibration", "get", "c"}), ExitCode::kOk);
  const std::string json = out_.str();
  EXPECT_THAT(json, HasSubstr("{\"layer\":1,\"x0\":0.5,\"dx\":0.25,\"cdf\":[0.0,0.1,1.0]}"));
  server_.put_messages.clear();
  ASSERT_EQ(Run({"calibration", "put", "c", "-"}, json), ExitCode::kOk);
  EXPECT_EQ(server_.put_messages.size(), 2u);
  const std::string path = ::testing::TempDir() + "/down.json";
  ASSERT_EQ(Run({"calibration", "get", "c", "-o", path}), ExitCode::kOk);
  std::ostringstream down;
  down << std::ifstream(path).rdbuf();
  EXPECT_EQ(down.str(), json);
}

TEST_F(AdminAppTest, ARouterComesDownAndGoesUp) {
  server_.model_info.set_num_layers(4);
  server_.model_info.set_num_experts(2);
  server_.model_info.set_hidden_size(3);
  server_.router.set_router_id("tuned");
  for (const uint32_t layer : {0, 1, 3}) server_.router.add_layers(layer);
  server_.router_layers.resize(2);
  server_.router_layers[0].set_layer(0);
  server_.router_layers[0].set_bfloat16(std::string("abcdefghijkl"));
  server_.router_layers[1].set_layer(3);
  server_.router_layers[1].set_float32(std::string(24, 'x'));
  const std::string path = ::testing::TempDir() + "/router.safetensors";
  ASSERT_EQ(Run({"router", "export", path}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(server_.get_router_request.router_id(), "");
  ASSERT_EQ(Run({"router", "put", "tuned", path}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(out_.str(),
            "ROUTER  DIGEST  LAYERS  IN USE\n"
            "tuned           0-1, 3  no\n");
  ASSERT_EQ(server_.put_router_messages.size(), 2u);
  EXPECT_EQ(server_.put_router_messages[0].router_id(), "tuned");
  EXPECT_EQ(server_.put_router_messages[1].router_id(), "");
  for (const size_t i : {0u, 1u}) {
    EXPECT_EQ(server_.put_router_messages[i].router_layer().SerializeAsString(),
              server_.router_layers[i].SerializeAsString());
  }
  ASSERT_EQ(Run({"router", "get", "tuned", path}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(server_.get_router_request.router_id(), "tuned");
  ASSERT_EQ(Run({"router", "list"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("tuned"));
  ASSERT_EQ(Run({"router", "delete", "tuned"}), ExitCode::kOk);
  EXPECT_EQ(server_.delete_router_request.router_id(), "tuned");
  EXPECT_EQ(out_.str(), "deleted: router tuned\n");
  ASSERT_EQ(Run({"complete-names", "routers"}), ExitCode::kOk);
}

TEST_F(AdminAppTest, WhatIsNoRouterFileIsNotSent) {
  EXPECT_EQ(Run({"router", "put", "tuned", "/no/such/file"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("/no/such/file"));
  EXPECT_EQ(Run({"router", "put", "tuned", Write("router.txt", "text")}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("router.txt"));
  EXPECT_EQ(Run({"router", "get", "", "/tmp/x"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("the name is empty"));
  EXPECT_TRUE(server_.put_router_messages.empty());
}

TEST_F(AdminAppTest, PatchNamesARouter) {
  ASSERT_EQ(Run({"patch", "--router", "tuned", "--top-k", "4"}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(server_.patch_request.policy().router(), "tuned");
  EXPECT_EQ(server_.patch_request.policy().policy_id(), "top-k-4-router-tuned");
}

TEST_F(AdminAppTest, ACalibrationIsBuiltFromFilesLinesOrTraffic) {
  const std::string file = Write("texts.txt", "one\n\ntwo\n");
  ASSERT_EQ(Run({"calibration", "build", "c", "--texts", file, "--trim-top", "8"}), ExitCode::kOk);
  EXPECT_THAT(server_.build_request.texts().texts(), ElementsAre("one\n\ntwo\n"));
  EXPECT_EQ(server_.build_request.trim_top(), 8u);
  ASSERT_EQ(Run({"calibration", "build", "c", "--texts", file, "-", "--lines"}, "three"),
            ExitCode::kOk);
  EXPECT_THAT(server_.build_request.texts().texts(), ElementsAre("one", "two", "three"));
  ASSERT_EQ(Run({"calibration", "build", "c", "--live", "5000", "--arm", "control"}),
            ExitCode::kOk);
  EXPECT_EQ(server_.build_request.live().tokens(), 5000u);
  EXPECT_THAT(server_.build_request.live().arm_ids(), ElementsAre("control"));
}

TEST_F(AdminAppTest, CalibrationsAreListedAndDeleted) {
  server_.calibration.set_calibration_id("wiki-t8");
  server_.calibration.set_in_use(true);
  ASSERT_EQ(Run({"calibration", "list"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("wiki-t8                   0       0        0  yes\n"));
  ASSERT_EQ(Run({"calibration", "delete", "wiki-t8"}), ExitCode::kOk);
  EXPECT_EQ(server_.delete_request.calibration_id(), "wiki-t8");
}

TEST_F(AdminAppTest, DrainTellsHowManyWereAborted) {
  server_.drain_response.set_aborted_requests(3);
  ASSERT_EQ(Run({"drain", "--grace", "2m"}), ExitCode::kOk);
  EXPECT_EQ(server_.drain_request.grace().seconds(), 120);
  EXPECT_EQ(out_.str(), "drained: new requests are refused, 3 of the accepted ones aborted\n");
}

TEST_F(AdminAppTest, DrainAsksWhereSomebodyIsThere) {
  const auto drain = [this](const std::string& answer, std::vector<std::string> flags = {}) {
    server_.drain_request.Clear();
    std::istringstream in(answer);
    out_.str("");
    err_.str("");
    flags.insert(flags.begin(), {"drain", "--admin", server_.address()});
    return RunApp(flags, {.in = &in,
                          .out = &out_,
                          .err = &err_,
                          .in_is_terminal = true,
                          .err_is_terminal = true,
                          .color = false});
  };
  for (const char* answer : {"", "\n", "n\n", "yesterday\n"}) {
    EXPECT_EQ(drain(answer), ExitCode::kFailed) << answer;
    EXPECT_THAT(err_.str(), StartsWith("Drain the server at " + server_.address() + "? "));
    EXPECT_THAT(err_.str(), HasSubstr("not drained"));
    EXPECT_FALSE(server_.drain_request.has_grace());
  }
  EXPECT_EQ(drain("y\n"), ExitCode::kOk);
  EXPECT_TRUE(server_.drain_request.has_grace());
  EXPECT_EQ(drain("", {"--yes"}), ExitCode::kOk);
  EXPECT_EQ(err_.str(), "");
  EXPECT_EQ(drain("", {"-y"}), ExitCode::kOk);
}

TEST_F(AdminAppTest, NamesForTheShellAreListedAndNothingElse) {
  *server_.routing_response.mutable_current() = Record(3, 4);
  server_.history.push_back(Record(3, 4));
  server_.history.push_back(Record(2, 8));
  server_.calibration.set_calibration_id("stories-t8");
  for (const auto& [kind, names] : std::vector<std::pair<std::string, std::string>>{
           {"arms", "default\n"}, {"calibrations", "stories-t8\n"}}) {
    EXPECT_EQ(Run({"complete-names", kind}), ExitCode::kOk);
    EXPECT_EQ(out_.str(), names);
  }
  std::ostringstream out, err;
  const Console console = {.in = &in_, .out = &out, .err = &err};
  // The connection is that of the line that is typed.
  EXPECT_EQ(RunApp({"complete-names", "arms", "olmoectl --admin " + server_.address() + " experts"},
                   console),
            ExitCode::kOk);
  EXPECT_EQ(RunApp({"complete-names", "arms", "olmoectl --admin=" + server_.address()}, console),
            ExitCode::kOk);
  EXPECT_EQ(out.str(), "default\ndefault\n");
  EXPECT_EQ(RunApp({"complete-names", "arms", "olmoectl --admin 127.0.0.1:1"}, console),
            ExitCode::kOk);
  EXPECT_EQ(RunApp({"complete-names", "arms", "olmoectl --ca /no/such/file"}, console),
            ExitCode::kOk);
  EXPECT_EQ(err.str(), "");
  EXPECT_EQ(Run({"--help"}), ExitCode::kOk);
  EXPECT_EQ(out_.str().find("complete-names"), std::string::npos);
}

TEST_F(AdminAppTest, EveryCommandFailsWithTheServersCode) {
  server_.failure = absl::PermissionDeniedError("no");
  const std::string file = Write("one.json", R"([{"x0": 0, "dx": 1, "cdf": [0, 1]}])");
  const std::vector<std::vector<std::string>> commands = {
      {"patch", "--top-k", "1"},
      {"rollback"},
      {"renew", "1", "--ttl", "1s"},
      {"routing"},
      {"routing", "--watch"},
      {"history"},
      {"explain", "x"},
      {"experts"},
      {"experts", "--watch"},
      {"experts", "diff", "a", "b"},
      {"calibration", "build", "c", "--live", "1"},
      {"calibration", "put", "c", file},
      {"calibration", "get", "c"},
      {"calibration", "list"},
      {"calibration", "delete", "c"},
      {"drain"}};
  for (const auto& command : commands) {
    EXPECT_EQ(Run(command), ExitCode::kNotAllowed) << ::testing::PrintToString(command);
    EXPECT_THAT(err_.str(), EndsWith("olmoectl: PERMISSION_DENIED: no\n"));
  }
}

TEST_F(AdminAppTest, WhatTheCommandLineGetsWrongIsUsage) {
  const std::vector<std::vector<std::string>> cases = {
      {"patch", "--top-k", "many"},
      {"patch", "--bh", "beta=1"},
      {"patch", "--top-k", "1", "--top-p", "0.5"},
      {"patch", "--analyze"},
      {"patch", "--top-k", "1", "--ttl", "soon"},
      {"patch", "--plan", "/nowhere/plan.json"},
      {"patch", "--plan", "/"},
      {"patch", "--plan", "p.json", "--top-k", "1"},
      {"patch", "--top-k", "1", "--arm", "a"},
      {"patch", "--note", "n"},
      {"rollback", "first"},
      {"rollback", "-1"},
      {"rollback", "18446744073709551616"},
      {"rollback", "--ttl", "soon"},
      {"renew", "1"},
      {"renew", "0x1", "--ttl", "1s"},
      {"unpatch", "--expect", "-1"},
      {"patch", "--top-k", "1", "--expect", "18446744073709551616"},
      {"history", "-n", "-1"},
      {"calibration", "build", "c", "--live", "-1"},
      {"calibration", "build", "c", "--texts", "a", "--trim-top", "4294967296"},
      {"experts", "diff", "a", "b", "--top", "-1"},
      {"explain"},
      {"explain", "x", "--plan", "/nowhere"},
      {"experts", "--format", "pie"},
      {"experts", "--kind", "both"},
      {"experts", "--layers", "x"},
      {"experts", "diff", "a"},
      {"calibration"},
      {"calibration", "build", "c"},
      {"calibration", "build", "c", "--texts", "/nowhere"},
      {"calibration", "build", "c", "--texts", "a", "--live", "1"},
      {"calibration", "put", "c", "/nowhere"},
      {"calibration", "get", "c", "-o", "/nowhere/x"},
      {"drain", "--grace", "never"},
  };
  for (const auto& arguments : cases) {
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(err_.str(), StartsWith("olmoectl: "));
  }
}

}  // namespace
}  // namespace olmoe::client::commands
