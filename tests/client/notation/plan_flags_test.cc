#include "client/notation/plan_flags.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::RoutingPlan Plan(const std::vector<FlagValue>& flags) {
  auto plan = PlanOfFlags(flags);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : v1::RoutingPlan();
}

std::string Error(const std::vector<FlagValue>& flags) {
  const auto plan = PlanOfFlags(flags);
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(plan.status().message());
}

TEST(PlanOfFlags, WithoutArmsThereIsOne) {
  const v1::RoutingPlan plan = Plan({{"top-k", "4"}});
  ASSERT_EQ(plan.arms_size(), 1);
  EXPECT_EQ(plan.arms(0).arm_id(), "default");
  EXPECT_EQ(plan.arms(0).weight(), 1u);
  EXPECT_EQ(plan.arms(0).policy().policy_id(), "top-k-4");
  EXPECT_EQ(plan.arms(0).policy().apply().top_k().k(), 4u);
}

TEST(PlanOfFlags, FlagsBelongToTheArmBeforeThem) {
  const v1::RoutingPlan plan = Plan({{"arm", "control"},
                                     {"weight", "90"},
                                     {"arm", "wide"},
                                     {"weight", "10"},
                                     {"top-k", "16"},
                                     {"policy-id", "k16"},
                                     {"arm", "staff"},
                                     {"weight", "0"},
                                     {"allow-explicit", "true"},
                                     {"policy", "dense@top-k=64"}});
  ASSERT_EQ(plan.arms_size(), 3);
  EXPECT_FALSE(plan.arms(0).policy().has_apply());
  EXPECT_EQ(plan.arms(0).policy().policy_id(), "native");
  EXPECT_EQ(plan.arms(0).weight(), 90u);
  EXPECT_EQ(plan.arms(1).policy().apply().top_k().k(), 16u);
  EXPECT_EQ(plan.arms(1).policy().policy_id(), "k16");
  EXPECT_FALSE(plan.arms(1).allow_explicit());
  EXPECT_EQ(plan.arms(2).weight(), 0u);
  EXPECT_TRUE(plan.arms(2).allow_explicit());
  EXPECT_EQ(plan.arms(2).policy().policy_id(), "dense");
}

TEST(PlanOfFlags, PartsBelongToTheRuleBeforeThemOrToTheFirst) {
  const v1::RoutingPolicy policy = Plan({{"layers", "0-1, 3"},
                                         {"top-k", "2"},
                                         {"weights", "native"},
                                         {"bh", "alpha=0.1,calibration=c"},
                                         {"temperature", "2"},
                                         {"analyze", "true"}})
                                       .arms(0)
                                       .policy();
  ASSERT_EQ(policy.layer_overrides_size(), 1);
  EXPECT_THAT(policy.layer_overrides(0).layers(), ElementsAre(0, 1, 3));
  EXPECT_EQ(policy.layer_overrides(0).apply().top_k().k(), 2u);
  EXPECT_EQ(policy.layer_overrides(0).apply().weight_mode(), v1::WEIGHT_MODE_NATIVE);
  EXPECT_FALSE(policy.has_apply());
  EXPECT_EQ(policy.analyze().bh().temperature(), 2);
}

TEST(PlanOfFlags, ExpressionsAndAdjustmentsAreWrittenWithoutQuotes) {
  const v1::RoutingPolicy policy = Plan({{"keep", "max(p, 0.1) > 0.3 / 2 && rank <= 12"},
                                         {"min", "2"},
                                         {"ban", "3, 17"},
                                         {"bias", "0.5:-1"},
                                         {"bias-scope", "both"},
                                         {"top-k", "2"},
                                         {"force", "5-7"},
                                         {"decode", "true"}})
                                       .arms(0)
                                       .policy();
  EXPECT_EQ(policy.apply().expression().keep(), "max(p, 0.1) > 0.3 / 2 && rank <= 12");
  EXPECT_EQ(policy.apply().expression().min_k(), 2u);
  EXPECT_THAT(policy.apply().adjust().ban(), ElementsAre(3, 17));
  EXPECT_THAT(policy.apply().adjust().bias().values(), ElementsAre(0.5f, -1.f));
  EXPECT_EQ(policy.decode().top_k().k(), 2u);
  EXPECT_THAT(policy.decode().adjust().force(), ElementsAre(5, 6, 7));
}

TEST(PlanOfFlags, AnArmHasItsRouterWithOrWithoutRules) {
  const v1::RoutingPlan plan = Plan({{"arm", "a"},
                                     {"router", "tuned"},
                                     {"arm", "b"},
                                     {"top-k", "2"},
                                     {"router", "tuned"},
                                     {"ban", "3"},
                                     {"arm", "c"}});
  EXPECT_EQ(plan.arms(0).policy().router(), "tuned");
  EXPECT_EQ(plan.arms(0).policy().policy_id(), "native-router-tuned");
  EXPECT_FALSE(plan.arms(0).policy().has_apply());
  EXPECT_EQ(plan.arms(1).policy().router(), "tuned");
  EXPECT_THAT(plan.arms(1).policy().apply().adjust().ban(), ElementsAre(3));
  EXPECT_EQ(plan.arms(2).policy().router(), "");
  EXPECT_THAT(Error({{"router", "a"}, {"router", "b"}}), HasSubstr("--router twice"));
  EXPECT_THAT(Error({{"router", "a"}, {"policy", "native"}}),
              HasSubstr("--policy and --router for arm default: one of the two"));
}

TEST(PlanOfFlags, EverythingThatIsWrongIsNamed) {
  const std::string error = Error({{"top-k", "4"},
                                   {"arm", "a"},
                                   {"weight", "-1"},
                                   {"bh", "x"},
                                   {"arm", "b"},
                                   {"analyze", "true"},
                                   {"arm", "c"},
                                   {"policy", "top-k=1"},
                                   {"top-p", "0.5"},
                                   {"arm", "d"},
                                   {"policy-id", "x"},
                                   {"policy-id", "y"}});
  for (const char* part : {"--top-k before the first --arm", "--weight -1 is not",
                           "--bh: alpha=x is not a number", "--analyze without a rule",
                           "--policy and --top-p for arm c", "--policy-id twice for arm d"}) {
    EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST(PlanOfFlags, AKeyThatTheRuleDoesNotHaveIsNamed) {
  EXPECT_THAT(Error({{"top-k", "4"}, {"temperature", "2"}}),
              HasSubstr("--top-k: temperature=2 is not a key of top-k; keys: k, weights"));
}

}  // namespace
}  // namespace olmoe::client::notation
