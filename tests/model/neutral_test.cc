// What must not change a reply changes no bit of it: analyzing, and the model's own rule written
// out.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/model/load_model.h"
#include "tests/model/golden.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

std::shared_ptr<const routing::RoutingPolicy> Compile(std::optional<routing::Rule> apply,
                                                      std::optional<routing::Rule> analyze,
                                                      const routing::RouterShape& shape) {
  routing::PolicySpec spec;
  spec.policy_id = "patched";
  spec.apply = std::move(apply);
  spec.analyze = std::move(analyze);
  auto policy = routing::RoutingPolicy::Create(std::move(spec), shape, nullptr, "policy");
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

routing::Rule TopP(double p) {
  routing::TopP top_p;
  top_p.p = p;
  return {top_p};
}

routing::Rule TopK(int k) { return {routing::TopK{static_cast<uint32_t>(k)}}; }

void ExpectEqualBits(const SequenceResult& actual, const SequenceResult& expected) {
  EXPECT_EQ(actual.logits, expected.logits);
  EXPECT_EQ(actual.next_logprobs, expected.next_logprobs);
  EXPECT_EQ(actual.router_logits, expected.router_logits);
  EXPECT_EQ(actual.expert_ids, expected.expert_ids);
  EXPECT_EQ(actual.expert_weights, expected.expert_weights);
  EXPECT_EQ(actual.hidden_states, expected.hidden_states);
}

void ExpectNeutralPolicies(const LoadOptions& options, const std::vector<TokenId>& tokens) {
  SequenceRunner runner(options);
  const routing::RouterShape shape = runner.info().router_shape();
  const auto native = routing::RoutingPolicy::Native(shape);
  const SequenceResult unpatched = runner.Run({tokens}, *native)[0];
  const auto generated = runner.Generate(tokens, 12, *native, {.temperature = 0});

  const routing::Rule own = TopK(shape.default_k);
  for (const auto& policy :
       {Compile({}, TopP(0.5), shape), Compile({}, TopK(shape.num_experts), shape),
        Compile(own, {}, shape), Compile(own, TopP(0.5), shape)}) {
    SCOPED_TRACE(policy->digest());
    EXPECT_EQ(policy->num_changed_layers(), 0);
    ExpectEqualBits(runner.Run({tokens}, *policy)[0], unpatched);
    const auto again = runner.Generate(tokens, 12, *policy, {.temperature = 0});
    EXPECT_EQ(again.ids, generated.ids);
    EXPECT_EQ(again.logprobs, generated.logprobs);
  }
  // The comparison has teeth, and what is applied is not changed by what is analyzed.
  const SequenceResult thin = runner.Run({tokens}, *Compile(TopK(1), {}, shape))[0];
  EXPECT_NE(thin.logits, unpatched.logits);
  ExpectEqualBits(runner.Run({tokens}, *Compile(TopK(1), TopP(0.9), shape))[0], thin);
}

class NeutralTest : public ::testing::TestWithParam<DType> {};

TEST_P(NeutralTest, AnalyzeAndTheWrittenOutOwnRuleChangeNoBit) {
  testing::TempFolder folder;
  ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder.path(), {}).ok());
  LoadOptions options;
  options.dir = folder.path();
  options.dtype = GetParam();
  options.threads = 1;
  options.kv_cache_bytes = 1 << 20;
  ExpectNeutralPolicies(options, {3, 1, 4, 1, 5, 9, 2, 6});
}

TEST_P(NeutralTest, SoItIsOnTheReferenceModel) {
  OLMOE_REQUIRE_DATA(folder, "golden/sharded");
  LoadOptions options;
  options.dir = folder;
  options.dtype = GetParam();
  options.threads = 1;
  options.kv_cache_bytes = 16 << 20;
  ExpectNeutralPolicies(options, Golden(folder).sequence("len17"));
}

INSTANTIATE_TEST_SUITE_P(, NeutralTest, ::testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace olmoe::model
