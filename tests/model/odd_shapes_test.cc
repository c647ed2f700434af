// Shapes and switches that the golden models do not have, against the obvious forward
// pass in double.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/model/kernel_names.h"
#include "tests/model/reference_forward.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace olmoe::model {
namespace {

struct Variation {
  const char* name;
  void (*change)(OlmoeConfig*);
};

void SetHeads(OlmoeConfig* config, int heads, int kv_heads, int head_size) {
  config->num_heads = heads;
  config->num_kv_heads = kv_heads;
  config->head_size = head_size;
  config->hidden_size = heads * head_size;
}

const Variation kVariations[] = {
    {"Tiny", [](OlmoeConfig*) {}},
    {"OneKvHead", [](OlmoeConfig* c) { SetHeads(c, 4, 1, 8); }},
    {"ThreeKvHeads", [](OlmoeConfig* c) { SetHeads(c, 6, 3, 10); }},
    {"OneHead", [](OlmoeConfig* c) { SetHeads(c, 1, 1, 26); }},
    {"SmallestHead", [](OlmoeConfig* c) { SetHeads(c, 7, 7, 2); }},
    {"ClipQkv", [](OlmoeConfig* c) { c->clip_qkv = 0.6; }},
    {"AttentionBias", [](OlmoeConfig* c) { c->attention_bias = true; }},
    {"TiedEmbeddings", [](OlmoeConfig* c) { c->tie_word_embeddings = true; }},
    {"NormTopkProb", [](OlmoeConfig* c) { c->norm_topk_prob = true; }},
    {"OneLayer", [](OlmoeConfig* c) { c->num_layers = 1; }},
    {"OddSizes",
     [](OlmoeConfig* c) {
       SetHeads(c, 5, 1, 6);
       c->intermediate_size = 13;
       c->vocab_size = 97;
       c->num_experts = 11;
       c->experts_per_token = 3;
       c->num_layers = 3;
     }},
    {"TwoExperts",
     [](OlmoeConfig* c) {
       c->num_experts = 2;
       c->experts_per_token = 1;
     }},
    {"MostExperts",
     [](OlmoeConfig* c) {
       c->num_experts = 128;
       c->experts_per_token = 128;
       c->num_layers = 1;
     }},
    {"LargeThetaAndEpsilon",
     [](OlmoeConfig* c) {
       c->rope_theta = 500000;
       c->rms_norm_eps = 0.01;
     }},
    {"Everything",
     [](OlmoeConfig* c) {
       SetHeads(c, 6, 2, 4);
       c->clip_qkv = 0.9;
       c->attention_bias = true;
       c->tie_word_embeddings = true;
       c->norm_topk_prob = true;
     }},
};

std::vector<TokenId> RandomTokens(int number, int vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens;
  for (int i = 0; i < number; ++i) {
    tokens.push_back(static_cast<TokenId>(random() % static_cast<uint32_t>(vocabulary)));
  }
  return tokens;
}

// Shapes and kernels.
class OddShapesTest : public ::testing::TestWithParam<std::tuple<Variation, std::string>> {
 protected:
  testing::SyntheticCheckpointOptions Synthetic() const {
    testing::SyntheticCheckpointOptions synthetic;
    std::get<0>(GetParam()).change(&synthetic.config);
    return synthetic;
  }
  LoadOptions Options(const std::string& folder) const {
    LoadOptions options;
    options.dir = folder;
    options.cpu_isa = std::get<1>(GetParam());
    options.threads = 2;
    return options;
  }
};

double LargestDifference(const std::vector<float>& logits,
                         const std::vector<std::vector<double>>& expected) {
  double largest = 0;
  for (size_t row = 0; row < expected.size(); ++row) {
    for (size_t i = 0; i < expected[row].size(); ++i) {
      const double difference = std::abs(logits[row * expected[row].size() + i] - expected[row][i]);
      if (!(difference <= largest)) largest = difference;  // also NaN
    }
  }
  return largest;
}

TEST_P(OddShapesTest, Float32AgreesWithTheReferenceHoweverItIsChunked) {
  testing::TempFolder folder;
  testing::SyntheticCheckpointOptions synthetic = Synthetic();
  synthetic.num_shards = 2;
  ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder.path(), synthetic).ok());
  const ReferenceForward reference(folder.path());
  const std::vector<TokenId> tokens = RandomTokens(23, synthetic.config.vocab_size, 3);
  const std::vector<std::vector<double>> expected = reference.Logits(tokens);

  LoadOptions options = Options(folder.path());
  options.dtype = DType::kFloat32;
  options.page_tokens = 5;
  options.kv_cache_bytes = 1 << 20;
  SequenceRunner runner(options);
  const auto policy = routing::RoutingPolicy::Native(runner.info().router_shape());
  for (const int chunk : {23, 4, 1}) {
    const SequenceResult result = runner.Run({tokens}, *policy, chunk)[0];
    ASSERT_EQ(result.logits.size(), expected.size() * expected[0].size());
    EXPECT_LT(LargestDifference(result.logits, expected), 1e-4) << "chunks of " << chunk;
  }
}

// Loose on purpose: it is there for the bfloat16 path of every switch. The golden test
// has the real limits.
TEST_P(OddShapesTest, BFloat16StaysNearTheReference) {
  testing::TempFolder folder;
  testing::SyntheticCheckpointOptions synthetic = Synthetic();
  // No selection to flip: what remains is rounding.
  synthetic.config.experts_per_token = synthetic.config.num_experts;
  ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder.path(), synthetic).ok());
  const std::vector<TokenId> tokens = RandomTokens(23, synthetic.config.vocab_size, 3);
  LoadOptions options = Options(folder.path());
  options.dtype = DType::kBFloat16;
  SequenceRunner runner(options);
  const auto policy = routing::RoutingPolicy::Native(runner.info().router_shape());
  const SequenceResult result = runner.Run({tokens}, *policy, 9)[0];
  EXPECT_LT(LargestDifference(result.logits, ReferenceForward(folder.path()).Logits(tokens)), 0.25);
}

INSTANTIATE_TEST_SUITE_P(, OddShapesTest,
                         ::testing::Combine(::testing::ValuesIn(kVariations),
                                            ::testing::ValuesIn(KernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name, "_",
                                               TestName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace olmoe::model
