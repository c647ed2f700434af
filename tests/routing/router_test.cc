#include "server/routing/router.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/controller.h"
#include "server/routing/named_use.h"
#include "server/util/sha256.h"
#include "tests/routing/policies.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::shared_ptr<const Router> RouterOf(std::string id, std::map<int, std::vector<float>> layers) {
  Router::Options options{.router_id = std::move(id), .layers = {}};
  for (const auto& [layer, values] : layers) options.layers.emplace(layer, RouterWeights(values));
  return Router::Create(std::move(options)).value();
}

std::string BytesOf(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST(RouterWeightsTest, AreKeptInTheShortestFormThatIsExact) {
  const std::vector<float> short_values = {1, -2.5, 0, -0.0F, 0x1p-133F};
  const RouterWeights narrow(short_values);
  EXPECT_EQ(narrow.dtype(), DType::kBFloat16);
  EXPECT_EQ(narrow.bytes().size(), 10u);
  EXPECT_EQ(narrow.bytes().substr(0, 4), std::string("\x80\x3f\x20\xc0"));
  EXPECT_EQ(narrow.Values(), short_values);
  EXPECT_TRUE(std::signbit(narrow.Values()[3]));
  const std::vector<float> long_values = {1, 0.1F};
  const RouterWeights wide(long_values);
  EXPECT_EQ(wide.dtype(), DType::kFloat32);
  EXPECT_EQ(wide.Values(), long_values);
  EXPECT_EQ(wide.num_values(), 2u);
  EXPECT_EQ(RouterWeights::FromBytes(DType::kFloat32, BytesOf(short_values)).bytes(),
            narrow.bytes());
  EXPECT_EQ(RouterWeights::FromBytes(DType::kBFloat16, narrow.bytes()).bytes(), narrow.bytes());
}

TEST(RouterTest, EveryBadFieldIsNamed) {
  Router::Options options{.router_id = "Not a name", .layers = {}};
  options.layers.emplace(3, RouterWeights(std::vector<float>{1, kInfinity}));
  options.layers.emplace(-1, RouterWeights(std::vector<float>{1}));
  EXPECT_THAT(ViolatedFields(Router::Create(options).status()),
              ElementsAre("router_id", "layers[-1]", "layers[3]"));
  EXPECT_THAT(ViolatedFields(Router::Create({.router_id = "a", .layers = {}}).status()),
              ElementsAre("layers"));
}

TEST(RouterTest, DigestIsThatOfTheValuesAlone) {
  const auto router = RouterOf("a", {{1, {1, 0.1F}}, {4, {2, 3}}});
  std::string bytes("\1\0\0\0", 4);
  bytes += BytesOf({1, 0.1F});
  bytes += std::string("\4\0\0\0", 4) + BytesOf({2, 3});
  EXPECT_EQ(router->digest(), Sha256Hex(bytes)) << "as the header says";
  EXPECT_EQ(router->digest(), RouterOf("b", {{1, {1, 0.1F}}, {4, {2, 3}}})->digest());
  EXPECT_NE(router->digest(), RouterOf("a", {{2, {1, 0.1F}}, {4, {2, 3}}})->digest());
  EXPECT_NE(router->digest(), RouterOf("a", {{1, {1, 0.1F}}})->digest());
}

TEST(RouterTest, FitsTheModelsThatHaveItsLayersAndSizes) {
  const auto router = RouterOf("a", {{1, {1, 2}}, {4, {3, 4}}});
  EXPECT_TRUE(router->Fits(5, 2));
  EXPECT_FALSE(router->Fits(4, 2));
  EXPECT_FALSE(router->Fits(5, 4));
  EXPECT_EQ(router->bytes(), 8u);
  EXPECT_TRUE(router->has_layer(4));
  EXPECT_FALSE(router->has_layer(0));
}

TEST(RouterUseTest, IsWhatThePoliciesOfAPlanName) {
  PlanSpec plan;
  plan.arms.resize(3);
  plan.arms[0].policy.router = "b";
  plan.arms[2].policy.router = "a";
  EXPECT_THAT(RoutersOf(plan), ElementsAre("a", "b"));
}

// ---------------------------------------------------------------- of policies

PolicySpec RoutedBy(std::string router, std::optional<Rule> apply = std::nullopt) {
  PolicySpec spec = PolicyOf(std::move(apply));
  spec.router = std::move(router);
  return spec;
}

std::shared_ptr<const RoutingPolicy> Make(const PolicySpec& spec, const RouterSet& routers) {
  auto policy = RoutingPolicy::Create(spec, kSmall, {nullptr, &routers}, "policy");
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *policy;
}

TEST(PolicyRouterTest, AMissingRouterIsAFailedPrecondition) {
  RouterSet routers;
  ASSERT_TRUE(routers.Add(RouterOf("deep", {{16, {1}}})).ok());
  for (const NamedSets& named : {NamedSets(), NamedSets(nullptr, &routers)}) {
    const absl::Status status =
        RoutingPolicy::Create(RoutedBy("mine"), kSmall, named, "policy").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(), "policy.router: router \"mine\" does not exist");
    const auto detail = DetailOf<google::rpc::PreconditionFailure>(status);
    ASSERT_EQ(detail.violations_size(), 1);
    EXPECT_EQ(detail.violations(0).type(), "ROUTER_MISSING");
    EXPECT_EQ(detail.violations(0).subject(), "routers/mine");
  }
  const absl::Status of_another_model =
      RoutingPolicy::Create(RoutedBy("deep"), kSmall, {nullptr, &routers}, "policy").status();
  EXPECT_EQ(of_another_model.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(of_another_model.message(), HasSubstr("has layers that the model has not"));
}

TEST(PolicyRouterTest, WhatIsNoNameIsAViolation) {
  EXPECT_THAT(
      ViolatedFields(RoutingPolicy::Create(RoutedBy("No name"), kSmall, {}, "policy").status()),
      ElementsAre("policy.router"));
}

TEST(PolicyRouterTest, TheDigestFollowsTheWeightsAndNotTheName) {
  RouterSet routers;
  ASSERT_TRUE(routers.Add(RouterOf("a", {{1, {1, 2}}, {5, {3, 4}}})).ok());
  ASSERT_TRUE(routers.Add(RouterOf("same", {{1, {1, 2}}, {5, {3, 4}}})).ok());
  ASSERT_TRUE(routers.Add(RouterOf("other", {{1, {1, 2.5}}})).ok());
  const auto a = Make(RoutedBy("a"), routers);
  EXPECT_EQ(a->digest(), Make(RoutedBy("same"), routers)->digest());
  EXPECT_NE(a->digest(), Make(RoutedBy("other"), routers)->digest());
  EXPECT_NE(a->digest(), Make(RoutedBy("a", TopKRule(4)), routers)->digest());
  EXPECT_NE(a->digest(), RoutingPolicy::Native(kSmall)->digest());
  EXPECT_EQ(Make(PolicyOf(std::nullopt), routers)->digest(),
            RoutingPolicy::Native(kSmall)->digest());
}

TEST(PolicyRouterTest, LayersOfTheRouterAreChangedAndItIsKept) {
  RouterSet routers;
  ASSERT_TRUE(routers.Add(RouterOf("a", {{1, {1}}, {5, {3}}})).ok());
  PolicySpec spec = RoutedBy("a");
  spec.layer_overrides = {Override({5, 6}, TopKRule(2))};
  const auto policy = Make(spec, routers);
  EXPECT_EQ(policy->num_changed_layers(), 3);
  ASSERT_TRUE(routers.Remove("a").ok());
  ASSERT_NE(policy->router(), nullptr);
  EXPECT_EQ(policy->router()->name(), "a");
  EXPECT_EQ(RoutingPolicy::Native(kSmall)->router(), nullptr);
}

TEST(ControllerRouterTest, ARollbackNeedsTheSameWeights) {
  RouterSet routers;
  ASSERT_TRUE(routers.Add(RouterOf("a", {{1, {1}}})).ok());
  RoutingController controller({.shape = kSmall, .routers = &routers});
  ASSERT_TRUE(controller.Patch(PlanOf({ArmOf("x", RoutedBy("a"))}), {}).ok());
  ASSERT_TRUE(controller.Unpatch({}).ok());
  ASSERT_TRUE(routers.Remove("a").ok());
  const absl::Status gone = controller.Rollback(2, {}).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(gone.message(), HasSubstr("router \"a\" does not exist"));
  ASSERT_TRUE(routers.Add(RouterOf("a", {{1, {2}}})).ok());
  const absl::Status other = controller.Rollback(2, {}).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(other.message(), HasSubstr("a router is another one now"));
  ASSERT_TRUE(routers.Remove("a").ok());
  ASSERT_TRUE(routers.Add(RouterOf("a", {{1, {1}}})).ok());
  EXPECT_TRUE(controller.Rollback(2, {}).ok());
}

}  // namespace
}  // namespace olmoe::routing
