#include "server/api/patch_request.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/routing/policies.h"

namespace olmoe::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

routing::PlanSpec OneArm(routing::Rule rule) {
  routing::PlanSpec plan;
  plan.arms.push_back({.arm_id = "default", .policy = {}, .weight = 1});
  plan.arms[0].policy.policy_id = "p";
  plan.arms[0].policy.apply = std::move(rule);
  return plan;
}

TEST(PatchRequestTest, TheFieldsOfOnePolicyAreNamedByItsOwnPrefix) {
  routing::RoutingController controller({.shape = routing::kSmall});
  PatchRequest patch;
  patch.is_one_policy = true;
  const auto named = [&](const routing::PlanSpec& plan) {
    return patch.AsNamed(controller.Patch(plan, {}));
  };
  EXPECT_THAT(routing::ViolatedFields(named(OneArm(routing::TopKRule(0))).status()),
              ElementsAre("policy.apply.top_k.k"));
  EXPECT_THAT(named(OneArm(routing::ToRule(routing::Bh(0.1)))).status().message(),
              HasSubstr("policy.apply.bh.calibration_id: calibration \"cal\""));
  EXPECT_THAT(named(OneArm(routing::TopKRule(8, routing::WeightMode::kSumToOne)))->warnings,
              ElementsAre(HasSubstr("policy.apply.weight_mode")));
}

}  // namespace
}  // namespace olmoe::api
