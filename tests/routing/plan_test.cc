#include "server/routing/plan.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/routing/policies.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;

absl::StatusOr<std::shared_ptr<const RoutingPlan>> Create(PlanSpec spec) {
  return RoutingPlan::Create(std::move(spec), kSmall, nullptr, /*max_arms=*/8, /*generation=*/5,
                             PlanSource::kPatch, absl::UnixEpoch(), "plan");
}

std::shared_ptr<const RoutingPlan> Make(PlanSpec spec) {
  auto plan = Create(std::move(spec));
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

std::vector<std::string> Violations(PlanSpec spec) {
  return ViolatedFields(Create(std::move(spec)).status());
}

PlanSpec TwoArms() {
  return PlanOf(
      {ArmOf("control", PolicyOf(std::nullopt), 90), ArmOf("few", PolicyOf(TopKRule(4)), 10, true)},
      "exp1");
}

// ---------------------------------------------------------------- validation

TEST(PlanValidationTest, AllViolationsOfAllArmsComeAtOnce) {
  BenjaminiHochberg bh = Bh(1.5);
  PlanSpec spec = PlanOf({ArmOf("a", PolicyOf(TopKRule(65))), ArmOf("a", PolicyOf(ToRule(bh))),
                          ArmOf("B", PolicyOf(std::nullopt, std::nullopt, ""))},
                         std::string(257, 's'), std::string(257, 'n'));
  spec.arms[0].policy.layer_overrides = {Override({0}, TopKRule(1)), Override({1}, TopKRule(1)),
                                         Override({16}, TopKRule(1))};
  EXPECT_THAT(Violations(spec),
              ElementsAre("plan.arms[0].policy.apply.top_k.k",
                          "plan.arms[0].policy.layer_overrides[2].layers[0]", "plan.arms[1].arm_id",
                          "plan.arms[1].policy.apply.bh.alpha", "plan.arms[2].arm_id",
                          "plan.arms[2].policy.policy_id", "plan.salt", "plan.note"));
}

TEST(PlanValidationTest, NumberOfArmsIsLimited) {
  EXPECT_THAT(Violations(PlanOf({})), ElementsAre("plan.arms"));
  PlanSpec spec;
  for (int i = 0; i < 8; ++i) {
    spec.arms.push_back(ArmOf(absl::StrCat("arm-", i), PolicyOf(std::nullopt)));
  }
  EXPECT_TRUE(Create(spec).ok());
  spec.arms.push_back(ArmOf("arm-8", PolicyOf(std::nullopt)));
  EXPECT_THAT(Violations(spec), ElementsAre("plan.arms"));
}

TEST(PlanValidationTest, WeightsSumToAnUnsigned32BitNumber) {
  const auto weights = [](uint32_t a, uint32_t b) {
    return PlanOf({ArmOf("a", PolicyOf(std::nullopt), a), ArmOf("b", PolicyOf(std::nullopt), b)});
  };
  EXPECT_THAT(Violations(weights(0, 0)), ElementsAre("plan.arms"));
  EXPECT_THAT(Violations(weights(4294967295, 1)), ElementsAre("plan.arms"));
  EXPECT_THAT(Violations(weights(2147483648, 2147483648)), ElementsAre("plan.arms"));
  EXPECT_TRUE(Create(weights(4294967294, 1)).ok());
  EXPECT_TRUE(Create(weights(0, 1)).ok());
}

TEST(PlanValidationTest, MissingCalibrationIsAFailedPrecondition) {
  const absl::Status status =
      Create(PlanOf({ArmOf("a", PolicyOf(std::nullopt)), ArmOf("b", PolicyOf(ToRule(Bh(0.1))))}))
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              ::testing::HasSubstr("plan.arms[1].policy.apply.bh.calibration_id"));
}

// ---------------------------------------------------------------- assignment

TEST(PlanAssignmentTest, UnitsStayInTheirArm) {
  // Known buckets of salt "exp1": alice 66, bob 17, user-42 78 of 100.
  PlanSpec spec = TwoArms();
  spec.arms[0].weight = 60;
  spec.arms[1].weight = 40;
  const auto plan = Make(spec);
  EXPECT_EQ(plan->Assign("alice", "r1").arm_id, "few");
  EXPECT_EQ(plan->Assign("alice", "r2").arm_id, "few");
  EXPECT_EQ(plan->Assign("bob", "r1").arm_id, "control");
  EXPECT_EQ(plan->Assign("user-42", "r1").arm_id, "few");
  EXPECT_EQ(plan->Assign("alice", "r1").reason, AssignmentReason::kSplit);
  EXPECT_EQ(plan->Assign("alice", "r1").policy, plan->arms()[1].policy);
  EXPECT_EQ(plan->DrawUnit("alice").bucket, 66u);
}

TEST(PlanAssignmentTest, WithoutAUnitTheRequestIdIsDrawn) {
  PlanSpec spec = TwoArms();
  spec.arms[0].weight = 60;
  spec.arms[1].weight = 40;
  const auto plan = Make(spec);
  EXPECT_EQ(plan->Assign("", "alice").arm_id, "few");
  EXPECT_EQ(plan->Assign("", "bob").arm_id, "control");
  EXPECT_EQ(plan->Assign("", "bob").reason, AssignmentReason::kRandomUnit);
}

TEST(PlanAssignmentTest, OneArmTakesAll) {
  const auto plan = Make(PlanOf({ArmOf("default", PolicyOf(TopKRule(4)))}));
  EXPECT_EQ(plan->Assign("alice", "r").arm_id, "default");
  EXPECT_EQ(plan->Assign("alice", "r").reason, AssignmentReason::kDefault);
  EXPECT_EQ(plan->Assign("", "r").reason, AssignmentReason::kDefault);
}

TEST(PlanAssignmentTest, SharesAreThoseOfTheWeights) {
  const auto plan = Make(TwoArms());
  std::map<std::string, int> units;
  for (int i = 0; i < 100'000; ++i) ++units[plan->Assign(absl::StrCat("user-", i), "r").arm_id];
  // Binomial(100000, 0.1): standard deviation 95.
  EXPECT_NEAR(units["few"], 10'000, 5 * 95);
  EXPECT_EQ(units["few"] + units["control"], 100'000);
}

TEST(PlanAssignmentTest, ClientsNameOnlyArmsThatAllowIt) {
  const auto plan = Make(TwoArms());
  const auto allowed = plan->AssignExplicit("few");
  ASSERT_TRUE(allowed.ok());
  EXPECT_EQ(allowed->arm_id, "few");
  EXPECT_EQ(allowed->reason, AssignmentReason::kExplicitArm);
  for (const char* arm_id : {"control", "no-such-arm", ""}) {
    const absl::Status status = plan->AssignExplicit(arm_id).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "ARM_NOT_ALLOWED");
  }
}

// ---------------------------------------------------------------- identity

TEST(PlanTest, DigestCoversWhatTheSplitDependsOn) {
  const PlanSpec base = TwoArms();
  const std::string digest = Make(base)->digest();
  std::vector<PlanSpec> different(6, base);
  different[0].salt = "exp2";
  different[1].arms[0].arm_id = "other";
  different[2].arms[0].weight = 89;
  different[3].arms[0].allow_explicit = true;
  different[4].arms[1].policy = PolicyOf(TopKRule(5));
  std::swap(different[5].arms[0], different[5].arms[1]);
  for (const PlanSpec& spec : different) EXPECT_NE(Make(spec)->digest(), digest);
}

TEST(PlanTest, SameAsAlsoComparesNamesAndNotes) {
  const PlanSpec base = TwoArms();
  std::vector<PlanSpec> renamed(3, base);
  renamed[0].note = "second week";
  renamed[1].arms[1].policy.policy_id = "other";
  renamed[2].arms[1].policy.description = "four";
  for (const PlanSpec& spec : renamed) {
    EXPECT_EQ(Make(spec)->digest(), Make(base)->digest());
    EXPECT_FALSE(Make(spec)->SameAs(*Make(base)));
  }
  EXPECT_TRUE(Make(base)->SameAs(*Make(base)));
}

TEST(PlanTest, NativePlanIsOneDefaultArm) {
  const auto plan = RoutingPlan::Native(kSmall, 1, PlanSource::kStartup, absl::UnixEpoch());
  ASSERT_EQ(plan->arms().size(), 1u);
  EXPECT_EQ(plan->arms()[0].arm_id, "default");
  EXPECT_EQ(plan->arms()[0].policy->digest(), RoutingPolicy::Native(kSmall)->digest());
  EXPECT_EQ(plan->generation(), 1u);
  EXPECT_EQ(PlanSourceName(plan->source()), "startup");
}

}  // namespace
}  // namespace olmoe::routing
