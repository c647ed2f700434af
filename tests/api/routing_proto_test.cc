#include "server/api/routing_proto.h"

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace olmoe::api {
namespace {

using ::testing::ElementsAre;

v1::RoutingPlan Parse(const std::string& text) {
  v1::RoutingPlan plan;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &plan));
  return plan;
}

TEST(RoutingProtoTest, EveryFieldOfAPlanSurvivesBothWays) {
  const v1::RoutingPlan plan = Parse(R"pb(
    salt: "s"
    note: "n"
    arms {
      arm_id: "a"
      weight: 3
      allow_explicit: true
      policy {
        policy_id: "p"
        description: "d"
        router: "r"
        apply {
          bh {
            alpha: 0.25
            min_k: 2
            max_k: 9
            p_value: P_VALUE_KIND_ONE_MINUS_PROB
            calibration_id: "c"
            temperature: 0.5
          }
          weight_mode: WEIGHT_MODE_SUM_TO_ONE
        }
        analyze {
          hc {
            beta: 0.5
            min_k: 1
            max_k: 8
            p_value: P_VALUE_KIND_LAYER_CDF
            calibration_id: "c2"
            temperature: 2
          }
          weight_mode: WEIGHT_MODE_NATIVE
        }
        layer_overrides {
          layers: 0
          layers: 2
          apply {
            top_p { p: 0.5 min_k: 1 max_k: 4 }
            weight_mode: WEIGHT_MODE_MATCH_TOP_K_MASS
          }
          analyze {
            min_p { ratio: 0.125 min_k: 3 max_k: 5 }
            weight_mode: WEIGHT_MODE_MODEL_DEFAULT
          }
        }
      }
    }
    arms {
      arm_id: "b"
      weight: 1
      policy {
        policy_id: "q"
        apply {
          top_k { k: 7 }
          weight_mode: WEIGHT_MODE_MODEL_DEFAULT
        }
      }
    }
  )pb");
  RequestErrors errors;
  const v1::RoutingPlan back = ToProto(ToPlanSpec(plan, "plan", &errors));
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(back.DebugString(), plan.DebugString());
}

TEST(RoutingProtoTest, UnsetFieldsBecomeTheDefaults) {
  RequestErrors errors;
  const routing::PlanSpec spec = ToPlanSpec(
      Parse("arms { policy { apply { hc {} } analyze { top_p { p: 1 } } } }"), "plan", &errors);
  const auto& hc = std::get<routing::HigherCriticism>(spec.arms[0].policy.apply->kind);
  EXPECT_FALSE(hc.beta.has_value());
  EXPECT_FALSE(hc.bounds.min_k.has_value());
  EXPECT_EQ(hc.p_values.kind, routing::PValueKind::kLayerCdf);
  EXPECT_EQ(hc.p_values.temperature, 1);
  EXPECT_EQ(spec.arms[0].policy.apply->weight_mode, routing::WeightMode::kModelDefault);
  EXPECT_FALSE(std::get<routing::TopP>(spec.arms[0].policy.analyze->kind).bounds.max_k.has_value());
}

TEST(RoutingProtoTest, ATemperatureOfZeroIsNotTakenForUnset) {
  RequestErrors errors;
  const auto spec =
      ToPlanSpec(Parse("arms { policy { apply { bh { temperature: 0 } } } }"), "plan", &errors);
  const auto& bh = std::get<routing::BenjaminiHochberg>(spec.arms[0].policy.apply->kind);
  EXPECT_EQ(bh.p_values.temperature, 0);
}

TEST(RoutingProtoTest, ARuleWithoutAKindIsKeptForRoutingToRefuse) {
  RequestErrors errors;
  const auto spec = ToPlanSpec(Parse("arms { policy { apply {} } }"), "plan", &errors);
  ASSERT_TRUE(spec.arms[0].policy.apply.has_value());
  EXPECT_TRUE(std::holds_alternative<std::monostate>(spec.arms[0].policy.apply->kind));
}

TEST(RoutingProtoTest, UnknownEnumValuesAndTheInlineArmAreViolations) {
  v1::RoutingPlan plan = Parse("arms { arm_id: 'inline' policy { apply { bh {} } } }");
  v1::Rule* rule = plan.mutable_arms(0)->mutable_policy()->mutable_apply();
  rule->set_weight_mode(static_cast<v1::WeightMode>(99));
  rule->mutable_bh()->set_p_value(static_cast<v1::PValueKind>(98));
  RequestErrors errors;
  ToPlanSpec(plan, "plan", &errors);
  google::rpc::BadRequest bad;
  ASSERT_TRUE(bad.ParseFromString(std::string(
      errors.ToStatus().GetPayload("type.googleapis.com/google.rpc.BadRequest").value())));
  std::vector<std::string> fields;
  for (const auto& violation : bad.field_violations()) fields.push_back(violation.field());
  EXPECT_THAT(fields, ElementsAre("plan.arms[0].arm_id", "plan.arms[0].policy.apply.bh.p_value",
                                  "plan.arms[0].policy.apply.weight_mode"));
}

}  // namespace
}  // namespace olmoe::api
