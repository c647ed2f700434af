// Routers of one's own in the forward pass: on every kernel, in both types.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/model/checkpoint.h"
#include "server/routing/router.h"
#include "tests/model/kernel_names.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace olmoe::model {
namespace {

const std::vector<std::vector<TokenId>> kSequences = {{1, 2, 3, 4, 5, 6, 7, 8, 9},
                                                      {9, 8, 7, 11, 12, 13, 14}};

// dtype of the model and kernels.
class RouterTest : public ::testing::TestWithParam<std::tuple<DType, std::string>> {
 protected:
  void SetUp() override {
    // Weights that bfloat16 would round.
    testing::SyntheticCheckpointOptions checkpoint;
    checkpoint.dtype = DType::kFloat32;
    ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder_.path(), checkpoint).ok());
    LoadOptions options;
    options.dir = folder_.path();
    options.dtype = std::get<0>(GetParam());
    options.cpu_isa = std::get<1>(GetParam());
    options.threads = 2;
    options.kv_cache_bytes = 4 << 20;
    runner_ = std::make_unique<SequenceRunner>(options);
  }

  const Model& model() { return *runner_->model(); }

  std::map<int, routing::RouterWeights> OwnLayers() {
    std::map<int, routing::RouterWeights> layers;
    for (int layer = 0; layer < model().info().num_layers; ++layer) {
      layers[layer] = *model().OwnRouter(layer);
    }
    return layers;
  }

  std::shared_ptr<const routing::RoutingPolicy> PolicyOf(
      std::map<int, routing::RouterWeights> layers) {
    routing::Router::Options options{.router_id = "r", .layers = std::move(layers)};
    options.prepared = *model().PrepareRouter(options.layers);
    routing::RouterSet routers;
    EXPECT_TRUE(routers.Add(*routing::Router::Create(std::move(options))).ok());
    routing::PolicySpec spec;
    spec.policy_id = "p";
    spec.router = "r";
    return *routing::RoutingPolicy::Create(spec, model().info().router_shape(), {nullptr, &routers},
                                           "policy");
  }

  void ExpectSame(const SequenceResult& a, const SequenceResult& b) {
    ASSERT_EQ(a.logits.size(), b.logits.size());
    EXPECT_EQ(std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)), 0);
    EXPECT_EQ(a.router_logits, b.router_logits);
    EXPECT_EQ(a.expert_ids, b.expert_ids);
    EXPECT_EQ(a.expert_weights, b.expert_weights);
  }

  void ExpectOwnBits() {
    const auto native = routing::RoutingPolicy::Native(model().info().router_shape());
    const auto own = PolicyOf(OwnLayers());
    for (const int chunk : {100, 3, 1}) {
      const auto expected = runner_->Run(kSequences, *native, chunk);
      const auto found = runner_->Run(kSequences, *own, chunk);
      for (size_t i = 0; i < kSequences.size(); ++i) ExpectSame(expected[i], found[i]);
    }
  }

  testing::TempFolder folder_;
  std::unique_ptr<SequenceRunner> runner_;
};

TEST_P(RouterTest, TheModelsOwnUnderANameGivesItsBits) { ExpectOwnBits(); }

// In a model of bfloat16 too: a router is float32 there.
TEST_P(RouterTest, TheModelsOwnIsThatOfTheCheckpointUnrounded) {
  const auto checkpoint = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(checkpoint.ok());
  std::map<int, std::vector<float>> expected;
  ASSERT_TRUE((*checkpoint)
                  ->Load([&](const TensorInfo& tensor) {
                    if (tensor.role != TensorRole::kRouter) return Target{};
                    std::vector<float>& values = expected[tensor.layer];
                    values.resize(tensor.bytes / sizeof(float));
                    return Target{values.data(), DType::kFloat32};
                  })
                  .ok());
  ASSERT_EQ(expected.size(), 2u);
  for (const auto& [layer, values] : expected) {
    EXPECT_EQ(model().OwnRouter(layer)->Values(), values);
    EXPECT_EQ(model().OwnRouter(layer)->dtype(), DType::kFloat32);
  }
}

TEST_P(RouterTest, LogitsAreThoseOfItsWeightsInItsLayersOnly) {
  std::map<int, routing::RouterWeights> layers = {{1, *model().OwnRouter(1)}};
  std::vector<float> doubled = layers[1].Values();
  for (float& value : doubled) value *= -2;
  layers[1] = routing::RouterWeights(doubled);
  const auto policy = PolicyOf(layers);
  EXPECT_EQ(policy->num_changed_layers(), 1);
  const auto native = routing::RoutingPolicy::Native(model().info().router_shape());
  const SequenceResult expected = runner_->Run({kSequences[0]}, *native)[0];
  const SequenceResult found = runner_->Run({kSequences[0]}, *policy)[0];
  EXPECT_EQ(found.router_logits[0], expected.router_logits[0]);
  EXPECT_EQ(found.expert_ids[0], expected.expert_ids[0]);
  ASSERT_EQ(found.router_logits[1].size(), expected.router_logits[1].size());
  for (size_t i = 0; i < found.router_logits[1].size(); ++i) {
    EXPECT_EQ(found.router_logits[1][i], -2 * expected.router_logits[1][i]) << i;
  }
  EXPECT_NE(found.expert_ids[1], expected.expert_ids[1]);
  EXPECT_NE(found.next_logprobs, expected.next_logprobs);
}

TEST_P(RouterTest, ManyThreadsMayPrepareWhileTheModelComputes) {
  std::vector<std::thread> threads;
  std::atomic<bool> done = false;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      do {
        EXPECT_TRUE(model().PrepareRouter(OwnLayers()).ok());
      } while (!done);
    });
  }
  ExpectOwnBits();
  done = true;
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(, RouterTest,
                         ::testing::Combine(::testing::Values(DType::kFloat32, DType::kBFloat16),
                                            ::testing::ValuesIn(KernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::string(DTypeName(std::get<0>(info.param))), "_",
                                               TestName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace olmoe::model
