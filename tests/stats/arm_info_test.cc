#include "server/stats/arm_info.h"

#include <map>
#include <string>

#include "gtest/gtest.h"
#include "server/routing/policy.h"

namespace olmoe::stats {
namespace {

std::map<std::string, std::string> InfoOf(routing::PolicySpec spec) {
  routing::Arm arm;
  arm.arm_id = std::string("a");
  arm.policy =
      routing::RoutingPolicy::Create(std::move(spec), {2, 64, 8, false}, nullptr, "").value();
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : ArmInfo(arm)) out[name] = value;
  return out;
}

routing::PolicySpec Applying(routing::Rule rule) {
  routing::PolicySpec spec;
  spec.policy_id = std::string("p");
  spec.apply = std::move(rule);
  return spec;
}

TEST(ArmInfoTest, NamesArmPolicyAndDigest) {
  const auto info = InfoOf(Applying({routing::TopK{4}, {}}));
  EXPECT_EQ(info.size(), 8u);
  EXPECT_EQ(info.at("arm"), "a");
  EXPECT_EQ(info.at("policy"), "p");
  EXPECT_EQ(info.at("digest").size(), 64u);
}

TEST(ArmInfoTest, ParametersAreThoseOfTheRuleAndEmptyWhereItHasNone) {
  routing::BenjaminiHochberg bh;
  bh.alpha = 0.12;
  bh.bounds.min_k = 1;
  bh.bounds.max_k = 16;
  bh.p_values.kind = routing::PValueKind::kOneMinusProb;
  routing::HigherCriticism hc;
  hc.p_values.kind = routing::PValueKind::kOneMinusProb;
  hc.bounds.max_k = 9;
  routing::PolicySpec native;
  native.policy_id = std::string("p");
  routing::PolicySpec overrides = native;
  routing::LayerOverride& override = overrides.layer_overrides.emplace_back();
  override.layers = {1};
  override.apply = routing::Rule{routing::TopK{3}, {}};
  const struct {
    routing::PolicySpec spec;
    const char *kind, *k, *alpha, *min_k, *max_k;
  } cases[] = {
      {native, "native", "", "", "", ""},
      {overrides, "overrides", "", "", "", ""},
      {Applying({routing::TopK{4}, {}}), "top_k", "4", "", "", ""},
      {Applying({routing::TopP{0.5, {2, {}}}, {}}), "top_p", "", "", "2", ""},
      {Applying({routing::MinP{0.5, {{}, 7}}, {}}), "min_p", "", "", "", "7"},
      {Applying({bh, {}}), "bh", "", "0.12", "1", "16"},
      {Applying({hc, {}}), "hc", "", "", "", "9"},
  };
  for (const auto& test : cases) {
    const auto info = InfoOf(test.spec);
    EXPECT_EQ(info.at("kind"), test.kind);
    EXPECT_EQ(info.at("k"), test.k) << test.kind;
    EXPECT_EQ(info.at("alpha"), test.alpha) << test.kind;
    EXPECT_EQ(info.at("min_k"), test.min_k) << test.kind;
    EXPECT_EQ(info.at("max_k"), test.max_k) << test.kind;
  }
}

}  // namespace
}  // namespace olmoe::stats
