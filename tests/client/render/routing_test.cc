#include "client/render/routing.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::render {
namespace {

using ::testing::HasSubstr;

v1::Rule TopK(uint32_t k) {
  v1::Rule rule;
  rule.mutable_top_k()->set_k(k);
  return rule;
}

TEST(DescribePolicy, TellsWhatTheServerTellsOfARule) {
  v1::RoutingPolicy policy;
  v1::Rule& rule = *policy.mutable_apply();
  rule = TopK(4);
  EXPECT_EQ(DescribePolicy(policy), "top 4");
  rule.set_weight_mode(v1::WEIGHT_MODE_MODEL_DEFAULT);
  EXPECT_EQ(DescribePolicy(policy), "top 4");
  rule.set_weight_mode(v1::WEIGHT_MODE_SUM_TO_ONE);
  EXPECT_EQ(DescribePolicy(policy), "top 4, weights sum to 1");
  rule.mutable_bh()->set_alpha(0.12);
  rule.mutable_bh()->set_max_k(16);
  rule.mutable_bh()->set_calibration_id("wiki-t8");
  rule.set_weight_mode(v1::WEIGHT_MODE_UNSPECIFIED);
  EXPECT_EQ(DescribePolicy(policy),
            "Benjamini-Hochberg, alpha 0.12, at most 16, calibration wiki-t8");
  rule.Clear();
  EXPECT_EQ(DescribePolicy(policy), "no rule");
}

TEST(DescribePolicy, TellsWhichLayers) {
  v1::RoutingPolicy policy;
  EXPECT_EQ(DescribePolicy(policy), "the model's own");
  auto* some = policy.add_layer_overrides();
  for (const uint32_t layer : {0, 1, 2, 7}) some->add_layers(layer);
  *some->mutable_apply() = TopK(4);
  EXPECT_EQ(DescribePolicy(policy), "top 4 on layers 0-2, 7");
  *policy.mutable_apply() = TopK(8);
  *policy.mutable_analyze() = TopK(2);
  EXPECT_EQ(DescribePolicy(policy), "top 8; analyzing top 2; top 4 on layers 0-2, 7");
  policy.set_router("tuned");
  EXPECT_EQ(DescribePolicy(policy), "top 8; analyzing top 2; top 4 on layers 0-2, 7; router tuned");
  policy.Clear();
  policy.set_router("tuned");
  EXPECT_EQ(DescribePolicy(policy), "the model's own; router tuned");
}

v1::PatchRoutersResponse Patched() {
  v1::PatchRoutersResponse response;
  response.set_changed(true);
  response.set_previous_generation(3);
  response.set_in_flight_on_previous(2);
  response.mutable_swap_duration()->set_nanos(850);
  response.mutable_current()->set_generation(4);
  auto* arm = response.mutable_current()->mutable_plan()->add_arms();
  arm->set_arm_id("default");
  *arm->mutable_policy()->mutable_apply() = TopK(4);
  response.add_warnings("no state directory:\nlost at restart");
  return response;
}

TEST(RenderPatch, TellsBothGenerationsTheSwapAndWarnings) {
  EXPECT_EQ(RenderPatch(Patched(), 0, Style()),
            "patched: generation 3 -> 4, admission blocked for 850 ns, 2 still on generation 3\n"
            "warning: no state directory: lost at restart\n"
            "arm default: top 4\n");
}

TEST(RenderPatch, SaysWhenNothingChanged) {
  v1::PatchRoutersResponse response = Patched();
  response.set_changed(false);
  EXPECT_THAT(RenderPatch(response, 0, Style()),
              ::testing::StartsWith("unchanged: generation 3\n"));
}

TEST(RenderPatch, TellsDigestEndSharesAndWhatTheProbeCovered) {
  v1::PatchRoutersResponse response = Patched();
  auto* current = response.mutable_current();
  current->set_digest("0123456789abcdef");
  current->mutable_expire_time()->set_seconds(3600);
  current->mutable_plan()->mutable_arms(0)->set_weight(3);
  current->mutable_plan()->add_arms()->set_arm_id("rest");
  current->mutable_plan()->mutable_arms(1)->set_weight(1);
  auto* probe = response.add_probe_results();
  probe->set_arm_id("default");
  probe->set_max_abs_logit_difference(1.25);
  probe->set_kl_divergence_nats(0.03125);
  probe->set_top1_changed(true);
  probe->set_mean_experts_per_token(4);
  probe->set_layers_covered(16);
  EXPECT_EQ(RenderPatch(response, 16, Style()),
            "patched: generation 3 -> 4, admission blocked for 850 ns, "
            "2 still on generation 3\n"
            "digest 0123456789ab, until 1970-01-01 01:00:00 UTC\n"
            "warning: no state directory: lost at restart\n"
            "arm default (75.0%): top 4\n"
            "arm rest (25.0%): the model's own\n"
            "PROBE OF ARM  MAX |DIFFERENCE|  KL NATS  TOP TOKEN  MEAN K  ROUTERS COVERED\n"
            "default                   1.25  0.03125  changed      4.00         16 of 16\n");
}

TEST(RenderArms, OneIsItsPolicyAndSeveralHaveShares) {
  v1::RoutingPlan plan;
  plan.add_arms()->set_arm_id("control");
  EXPECT_EQ(RenderArms(plan), "native");
  plan.mutable_arms(0)->set_weight(9);
  auto* wide = plan.add_arms();
  wide->set_arm_id("wide");
  wide->set_weight(1);
  *wide->mutable_policy()->mutable_apply() = TopK(16);
  EXPECT_EQ(RenderArms(plan), "control 90.0%: native, wide 10.0%: top-k=16");
}

TEST(RenderPlan, SharesAreOfTheSumOfWeights) {
  v1::PlanRecord record;
  record.set_generation(7);
  record.set_source("patch");
  for (const uint32_t weight : {90, 10, 0}) {
    auto* arm = record.mutable_plan()->add_arms();
    arm->set_arm_id("arm" + std::to_string(weight));
    arm->set_weight(weight);
    arm->mutable_policy()->set_policy_id("p");
  }
  const std::string text = RenderPlan(record, Style());
  EXPECT_THAT(text, HasSubstr("generation 7 by patch"));
  EXPECT_THAT(text, HasSubstr("arm90    90.0%  p       the model's own\n"));
  EXPECT_THAT(text, HasSubstr("arm10    10.0%"));
  EXPECT_THAT(text, HasSubstr("arm0   by name"));
}

}  // namespace
}  // namespace olmoe::client::render
