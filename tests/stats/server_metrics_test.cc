#include "server/stats/server_metrics.h"

#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "server/routing/controller.h"
#include "tests/engine/manual_clock.h"
#include "tests/engine/outcomes.h"
#include "tests/engine/recording_sink.h"
#include "tests/support/fake_model.h"

namespace olmoe::stats {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// An engine on a fake model that tells ServerMetrics, as the server wires it.
class ServerMetricsTest : public ::testing::Test {
 protected:
  explicit ServerMetricsTest(ExpertMetrics detail = ExpertMetrics::kExpert)
      : metrics_({.model = model_.info(),
                  .server_version = "1.2.3",
                  .expert_metrics = detail,
                  .now = clock_.function()}) {
    engine_ = engine::Engine::Create({}, &model_, nullptr,
                                     [this](const auto& rows, const auto& record, auto time) {
                                       metrics_.OnStep(rows, record, time);
                                     });
    metrics_.SetSources(engine_.get(), &controller_.slot());
  }

  engine::Completion Generate(int prompt_tokens, int new_tokens,
                              const std::string& arm_id = "default") {
    engine::GenerateWork work;
    work.prompt.assign(static_cast<size_t>(prompt_tokens), 1);
    work.max_new_tokens = new_tokens;
    engine::Request request;
    request.request_id = "r";
    request.work = std::move(work);
    request.pin = controller_.slot().Pin();
    request.assignment = request.pin->Assign("", "r");
    if (arm_id != "default") request.assignment = request.pin->AssignExplicit(arm_id).value();
    auto sink = std::make_shared<engine::RecordingSink>();
    EXPECT_TRUE(engine::SubmitTo(engine_.get(), std::move(request), sink).ok());
    return sink->AwaitDone().completion;
  }

  std::string Text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, metrics_.Collect());
    return out.str();
  }

  // Sum of the samples whose name and labels contain all of `parts`.
  double SumOf(const std::vector<std::string>& parts) const {
    std::istringstream lines(Text());
    double sum = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("#")) continue;
      bool all = true;
      for (const std::string& part : parts) all = all && line.find(part) != std::string::npos;
      if (all) sum += std::stod(line.substr(line.rfind(' ') + 1));
    }
    return sum;
  }

  // One arm for all traffic.
  void PatchToArm(const std::string& arm_id) {
    routing::PlanSpec plan;
    routing::ArmSpec& arm = plan.arms.emplace_back();
    arm.arm_id = arm_id;
    arm.policy.policy_id = "p";
    arm.weight = 1;
    arm.allow_explicit = true;
    ASSERT_TRUE(controller_.Patch(plan, {}).ok());
  }

  // Families that have a series of the arm.
  std::set<std::string> FamiliesOf(const std::string& arm_id) const {
    std::set<std::string> names;
    for (const prometheus::MetricFamily& family : metrics_.Collect()) {
      for (const prometheus::ClientMetric& metric : family.metric) {
        for (const auto& label : metric.label) {
          if (label.name == "arm" && label.value == arm_id) names.insert(family.name);
        }
      }
    }
    return names;
  }

  engine::ManualClock clock_;
  testing::FakeModel model_;
  routing::RoutingController controller_{{.shape = model_.info().router_shape()}};
  ServerMetrics metrics_;
  std::unique_ptr<engine::Engine> engine_;
};

TEST_F(ServerMetricsTest, ExpertCountsAddUpToWhatTheEngineRan) {
  const engine::Completion completion = Generate(5, 7);  // 11 rows
  EXPECT_EQ(SumOf({"olmoe_moe_expert_tokens_total"}),
            static_cast<double>(completion.expert_activations));
  for (const std::string layer : {"layer=\"00\"", "layer=\"01\""}) {
    EXPECT_EQ(SumOf({"olmoe_moe_routed_tokens_total", layer}), 11);
    EXPECT_EQ(SumOf({"olmoe_moe_expert_tokens_total", layer}),
              SumOf({"olmoe_moe_experts_per_token_sum", layer}));
    EXPECT_EQ(SumOf({"olmoe_moe_experts_per_token_count", layer}), 11);
  }
  EXPECT_EQ(SumOf({"olmoe_tokens_total", "phase=\"prefill\""}), 5);
  EXPECT_EQ(SumOf({"olmoe_tokens_total", "phase=\"decode\""}), 6);
  EXPECT_EQ(SumOf({"olmoe_forward_pass_tokens_sum"}), 11);
  EXPECT_GT(SumOf({"olmoe_forward_pass_seconds_count"}), 0);
}

TEST_F(ServerMetricsTest, GaugesSayWhatIsSoNow) {
  EXPECT_EQ(SumOf({"olmoe_routing_generation "}), 1);
  EXPECT_THAT(Text(), HasSubstr("olmoe_requests_running{arm=\"default\"} 0\n"));
  EXPECT_EQ(SumOf({"olmoe_requests_queued "}), 0);
  EXPECT_EQ(SumOf({"olmoe_kv_cache_used_bytes "}), 0);
  EXPECT_EQ(SumOf({"olmoe_kv_cache_capacity_bytes "}), 256 * 4096);
  EXPECT_EQ(SumOf({"olmoe_build_info", "version=\"1.2.3\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_model_info", "model=\"fake\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_routing_arm_weight", "arm=\"default\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_routing_arm_info", "kind=\"native\""}), 1);
  routing::PlanSpec plan;
  routing::ArmSpec& arm = plan.arms.emplace_back();
  arm.arm_id = "a";
  arm.weight = 3;
  arm.policy.policy_id = "p";
  arm.policy.apply = routing::Rule{routing::TopK{1}, {}};
  ASSERT_TRUE(controller_.Patch(plan, {}).ok());
  EXPECT_EQ(SumOf({"olmoe_routing_generation "}), 2);
  EXPECT_EQ(SumOf({"olmoe_routing_arm_weight", "arm=\"a\""}), 3);
  EXPECT_EQ(SumOf({"olmoe_routing_arm_info", "kind=\"top_k\"", "policy=\"p\""}), 1);
}

TEST_F(ServerMetricsTest, RequestsAreCountedByArmMethodAndCode) {
  const engine::Completion completion = Generate(5, 7);
  engine::RequestOutcome done = engine::OutcomeOf("default", "Generate", &completion);
  done.assignment = routing::AssignmentReason::kDefault;
  metrics_.OnRequestDone(done);
  metrics_.OnRequestDone(
      engine::OutcomeOf("", "Score", nullptr, absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(
      SumOf({"olmoe_requests_total", "arm=\"default\"", "method=\"Generate\"", "code=\"OK\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_requests_total", "arm=\"\"", "code=\"INVALID_ARGUMENT\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_request_finish_total", "reason=\"length\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_assignments_total", "reason=\"default\""}), 1);
  EXPECT_EQ(SumOf({"olmoe_request_prompt_tokens_sum"}), 5);
  EXPECT_EQ(SumOf({"olmoe_request_completion_tokens_sum"}), 7);
  EXPECT_EQ(SumOf({"olmoe_time_to_first_token_seconds_count"}), 1);
  EXPECT_EQ(SumOf({"olmoe_request_duration_seconds_count", "method=\"Generate\""}), 1);
}

TEST_F(ServerMetricsTest, ScoresAddTheirNegativeLogLikelihood) {
  const engine::Completion completion;
  engine::RequestOutcome scored = engine::OutcomeOf("default", "Score", &completion);
  scored.scored_logprob_sum = -12.5;
  scored.scored_tokens = 7;
  metrics_.OnRequestDone(scored);
  EXPECT_EQ(SumOf({"olmoe_score_logprob_nats_total"}), 12.5);
  EXPECT_EQ(SumOf({"olmoe_scored_tokens_total"}), 7);
  EXPECT_EQ(SumOf({"olmoe_time_to_first_token_seconds_count"}), 0);
}

TEST_F(ServerMetricsTest, SwapsAreCountedByOutcomeAndZeroFromTheStart) {
  EXPECT_THAT(Text(), HasSubstr("olmoe_routing_swaps_total{outcome=\"conflict\"} 0"));
  metrics_.OnSwap("published", absl::Microseconds(3));
  metrics_.OnSwap("rejected", absl::ZeroDuration());
  EXPECT_EQ(SumOf({"olmoe_routing_swaps_total", "published"}), 1);
  EXPECT_EQ(SumOf({"olmoe_routing_swaps_total", "rejected"}), 1);
  EXPECT_EQ(SumOf({"olmoe_routing_swap_seconds_count"}), 1);
  EXPECT_EQ(SumOf({"olmoe_routing_swap_seconds_bucket", "le=\"5e-06\""}), 1);
}

TEST_F(ServerMetricsTest, EveryNameHasThePrefixAndOneFamily) {
  Generate(1, 1);
  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : metrics_.Collect()) {
    EXPECT_TRUE(family.name.starts_with("olmoe_") || family.name.starts_with("process_"))
        << family.name;
    EXPECT_NE(family.help, "") << family.name;
    EXPECT_TRUE(names.insert(family.name).second) << family.name;
    EXPECT_EQ(family.type == prometheus::MetricType::Counter, family.name.ends_with("_total"))
        << family.name;
  }
}

TEST_F(ServerMetricsTest, SeriesOfAPlanAreAnnouncedAsTheyAreExported) {
  const auto arm = [](const char* arm_id, bool analyze) {
    routing::ArmSpec arm;
    arm.arm_id = arm_id;
    arm.weight = 1;
    arm.allow_explicit = true;
    arm.policy.policy_id = arm_id;
    if (analyze) arm.policy.analyze = routing::Rule{routing::TopK{3}, {}};
    return arm;
  };
  routing::PlanSpec plan;
  plan.arms = {arm("a", false), arm("b", true)};
  ASSERT_TRUE(controller_.Patch(plan, {}).ok());
  for (const char* arm_id : {"a", "b"}) Generate(2, 2, arm_id);
  std::istringstream lines(Text());
  int64_t exported = 0;
  for (std::string line; std::getline(lines, line);) {
    exported += line.starts_with("olmoe_moe_") ? 1 : 0;
  }
  EXPECT_EQ(metrics_.CountExpertSeries(*controller_.slot().Current()), exported);
  EXPECT_GT(exported, 0);
}

TEST_F(ServerMetricsTest, AnArmOfThePlanHasAllItsSeriesBeforeItsFirstToken) {
  const auto before = metrics_.Collect();
  const engine::Completion completion = Generate(3, 3);
  metrics_.OnRequestDone(engine::OutcomeOf("default", "Generate", &completion));
  const auto after = metrics_.Collect();
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].name, after[i].name);
    EXPECT_EQ(before[i].metric.size(), after[i].metric.size()) << before[i].name;
  }
}

TEST_F(ServerMetricsTest, GapsBetweenTokensAreCountedByArm) {
  Generate(5, 7);
  EXPECT_EQ(SumOf({"olmoe_inter_token_latency_seconds_count", "arm=\"default\""}), 6);
}

TEST_F(ServerMetricsTest, RunningRequestsAreCountedByArm) {
  PatchToArm("a");
  model_.Hold();
  engine::Request request;
  request.request_id = "r";
  engine::GenerateWork work;
  work.prompt = {1};
  work.max_new_tokens = 1;
  request.work = std::move(work);
  request.pin = controller_.slot().Pin();
  request.assignment = request.pin->Assign("", "r");
  auto sink = std::make_shared<engine::RecordingSink>();
  ASSERT_TRUE(engine::SubmitTo(engine_.get(), std::move(request), sink).ok());
  model_.AwaitStepBegun(1);
  PatchToArm("b");
  EXPECT_THAT(Text(), HasSubstr("olmoe_requests_running{arm=\"a\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("olmoe_requests_running{arm=\"b\"} 0\n"));
  EXPECT_EQ(SumOf({"olmoe_routing_stale_requests "}), 1);
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Text(), HasSubstr("olmoe_requests_running{arm=\"a\"} 1\n")) << "still held";
  model_.Unhold();
  sink->AwaitDone();
}

TEST_F(ServerMetricsTest, ARetiredArmLosesItsSeriesInEveryFamilyAfterItsLastCountsWereServed) {
  PatchToArm("old");
  const std::set<std::string> families = FamiliesOf("old");
  const engine::Completion completion = Generate(5, 7, "old");
  metrics_.OnRequestDone(engine::OutcomeOf("old", "Generate", &completion));
  metrics_.OnRequestDone(
      engine::OutcomeOf("", "Score", nullptr, absl::StatusCode::kInvalidArgument));
  PatchToArm("new");
  clock_.Advance(absl::Hours(1));  // nobody scraped
  EXPECT_EQ(SumOf({"olmoe_moe_routed_tokens_total", "arm=\"old\"", "layer=\"00\""}), 11);
  std::set<std::string> of_plan_and_counts = FamiliesOf("old");
  of_plan_and_counts.insert("olmoe_routing_arm_info");
  of_plan_and_counts.insert("olmoe_routing_arm_weight");
  EXPECT_EQ(of_plan_and_counts, families);
  clock_.Advance(ArmRetirement::kGrace);
  EXPECT_EQ(FamiliesOf("old"), std::set<std::string>());
  EXPECT_EQ(FamiliesOf(""), std::set<std::string>{"olmoe_requests_total"});
  EXPECT_EQ(FamiliesOf("new"), families) << "zeros of the current arm";
  EXPECT_EQ(metrics_.experts().Snapshot().size(), 2u) << "what cursors read stays";
  PatchToArm("old");
  EXPECT_EQ(SumOf({"olmoe_moe_routed_tokens_total", "arm=\"old\"", "layer=\"00\""}), 11);
}

class LayerMetricsTest : public ServerMetricsTest {
 protected:
  LayerMetricsTest() : ServerMetricsTest(ExpertMetrics::kLayer) {}
};

TEST_F(LayerMetricsTest, ExpertsCanBeLeftOut) {
  Generate(1, 1);
  EXPECT_THAT(Text(), Not(HasSubstr("olmoe_moe_expert_tokens_total")));
  EXPECT_THAT(Text(), HasSubstr("olmoe_moe_routed_tokens_total"));
}

class NoExpertMetricsTest : public ServerMetricsTest {
 protected:
  NoExpertMetricsTest() : ServerMetricsTest(ExpertMetrics::kOff) {}
};

TEST_F(NoExpertMetricsTest, RoutersCanBeLeftOut) {
  Generate(1, 1);
  EXPECT_THAT(Text(), Not(HasSubstr("olmoe_moe_")));
  EXPECT_EQ(metrics_.CountExpertSeries(*controller_.slot().Current()), 0);
}

// All series of a server of 16 layers and 64 experts that serves one arm.
int64_t CountSeries(ExpertMetrics detail) {
  testing::FakeModel model({.num_layers = 16, .num_experts = 64});
  routing::RoutingController controller({.shape = model.info().router_shape()});
  const auto engine = engine::Engine::Create({}, &model, nullptr);
  ServerMetrics metrics(
      {.model = model.info(), .server_version = "1.2.3", .expert_metrics = detail});
  metrics.SetSources(engine.get(), &controller.slot());
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, metrics.Collect());
  std::istringstream lines(out.str());
  int64_t series = 0;
  for (std::string line; std::getline(lines, line);) series += line.starts_with("#") ? 0 : 1;
  return series;
}

// The numbers here and below are those of the documentation.
TEST(ServerSeriesTest, SeriesOfOneArmByDetail) {
  EXPECT_EQ(CountSeries(ExpertMetrics::kExpert), 1812);
  EXPECT_EQ(CountSeries(ExpertMetrics::kLayer), 788);
  EXPECT_EQ(CountSeries(ExpertMetrics::kOff), 420);
}

TEST(ExpertSeriesTest, SeriesOfAnArmOfTheModel) {
  const auto series = [](ExpertMetrics detail) { return CountExpertSeries(16, 64, detail); };
  EXPECT_EQ(series(ExpertMetrics::kExpert).applied, 1392);
  EXPECT_EQ(series(ExpertMetrics::kExpert).analyzed, 1424);
  EXPECT_EQ(series(ExpertMetrics::kLayer).applied, 368);
  EXPECT_EQ(series(ExpertMetrics::kLayer).analyzed, 400);
  EXPECT_EQ(series(ExpertMetrics::kOff).applied, 0);
  EXPECT_EQ(series(ExpertMetrics::kOff).analyzed, 0);
}

}  // namespace
}  // namespace olmoe::stats
