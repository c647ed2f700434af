// float32 on the CPU against the numbers of Hugging Face: README of
// tests/data/golden, "Tolerances".
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/model/golden.h"
#include "tests/model/kernel_names.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

// "5e-5 to catch" a wrong epsilon; the noise of float32 is 1.3e-5.
constexpr double kLogitTolerance = 5e-5;
constexpr double kRouterTolerance = 2e-5;
constexpr double kWeightTolerance = 1e-5;
constexpr double kHiddenTolerance = 5e-5;

double MaxDifference(std::span<const float> a, std::span<const float> b, size_t number) {
  if (a.size() < number || b.size() < number) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < number; ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // also NaN
  }
  return largest;
}

// Model and kernels.
class ModelGoldenTest : public ::testing::TestWithParam<std::tuple<const char*, std::string>> {
 protected:
  void SetUp() override {
    OLMOE_REQUIRE_DATA(folder, absl::StrCat("golden/", std::get<0>(GetParam())));
    golden_ = std::make_unique<Golden>(folder);
    LoadOptions options;
    options.dir = golden_->folder();
    options.dtype = DType::kFloat32;
    options.threads = 1;
    options.cpu_isa = std::get<1>(GetParam());
    runner_ = std::make_unique<SequenceRunner>(options);
  }

  std::shared_ptr<const routing::RoutingPolicy> Policy(const std::string& run) {
    return golden_->Policy(run, runner_->info().router_shape());
  }

  // Everything that the golden files have about the first `tokens` rows.
  void ExpectGolden(const std::string& run, const std::string& name, const SequenceResult& result,
                    int certain) {
    SCOPED_TRACE(run + " " + name);
    const std::string key = name + "." + run;
    const size_t tokens = static_cast<size_t>(certain);
    const size_t length = golden_->sequence(name).size();
    const size_t vocabulary = static_cast<size_t>(runner_->info().vocab_size);
    if (golden_->Has(key + ".logits")) {
      EXPECT_LT(MaxDifference(golden_->Floats(key + ".logits"), result.logits, tokens * vocabulary),
                kLogitTolerance);
    }
    if (golden_->Has(key + ".last_logits") && tokens == length) {
      EXPECT_LT(MaxDifference(golden_->Floats(key + ".last_logits"),
                              std::span(result.logits).last(vocabulary), vocabulary),
                kLogitTolerance);
    }
    if (golden_->Has(key + ".next_logprobs")) {
      EXPECT_LT(MaxDifference(golden_->Floats(key + ".next_logprobs"), result.next_logprobs,
                              std::min(tokens, length - 1)),
                kLogitTolerance);
    }
    ExpectArgmax(key, result, tokens);
    ExpectRouting(key, result, tokens, length);
  }

  void ExpectArgmax(const std::string& key, const SequenceResult& result, size_t tokens) {
    const size_t vocabulary = static_cast<size_t>(runner_->info().vocab_size);
    const std::vector<int> argmax = golden_->Ints(key + ".argmax");
    for (size_t row = 0; row < tokens; ++row) {
      const auto logits = std::span(result.logits).subspan(row * vocabulary, vocabulary);
      const float largest = *std::max_element(logits.begin(), logits.end());
      EXPECT_GT(logits[static_cast<size_t>(argmax[row])], largest - 2 * kLogitTolerance);
      if (!golden_->Has(key + ".logsumexp")) continue;
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
      EXPECT_NEAR(golden_->Floats(key + ".logsumexp")[row], largest + std::log(sum),
                  kLogitTolerance);
    }
  }

  void ExpectRouting(const std::string& key, const SequenceResult& result, size_t tokens,
                     size_t length) {
    const size_t layers = static_cast<size_t>(runner_->info().num_layers);
    const size_t experts = static_cast<size_t>(runner_->info().num_experts);
    if (golden_->Has(key + ".router_logits")) {
      const std::vector<float> golden = golden_->Floats(key + ".router_logits");
      for (size_t layer = 0; layer < layers; ++layer) {
        EXPECT_LT(MaxDifference(std::span(golden).subspan(layer * length * experts),
                                result.router_logits[layer], tokens * experts),
                  kRouterTolerance)
            << "layer " << layer;
      }
    }
    if (golden_->Has(key + ".counts")) {
      const std::vector<int> counts = golden_->Ints(key + ".counts");
      for (size_t layer = 0; layer < layers; ++layer) {
        for (size_t row = 0; row < tokens; ++row) {
          EXPECT_EQ(static_cast<size_t>(counts[layer * length + row]),
                    result.expert_ids[layer][row].size());
        }
      }
    }
    if (!golden_->Has(key + ".expert_ids")) return;
    const std::vector<int> ids = golden_->Ints(key + ".expert_ids");
    const size_t width = static_cast<size_t>(golden_->Shape(key + ".expert_ids").back());
    const bool has_weights = golden_->Has(key + ".expert_weights");
    const std::vector<float> weights =
        has_weights ? golden_->Floats(key + ".expert_weights") : std::vector<float>();
    for (size_t layer = 0; layer < layers; ++layer) {
      for (size_t row = 0; row < tokens; ++row) {
        const size_t offset = (layer * length + row) * width;
        std::map<int, float> expected, found;
        constexpr int kPadding = 255;
        for (size_t rank = 0; rank < width && ids[offset + rank] != kPadding; ++rank) {
          expected[ids[offset + rank]] = has_weights ? weights[offset + rank] : 0;
        }
        for (size_t rank = 0; rank < result.expert_ids[layer][row].size(); ++rank) {
          found[result.expert_ids[layer][row][rank]] =
              has_weights ? result.expert_weights[layer][row][rank] : 0;
        }
        ASSERT_EQ(found.size(), expected.size()) << "layer " << layer << " row " << row;
        for (const auto& [expert, weight] : expected) {
          ASSERT_TRUE(found.contains(expert)) << "layer " << layer << " row " << row;
          EXPECT_NEAR(found[expert], weight, kWeightTolerance);
        }
      }
    }
  }

  std::unique_ptr<Golden> golden_;
  std::unique_ptr<SequenceRunner> runner_;
};

TEST_P(ModelGoldenTest, EveryRunMatchesOnWholeSequences) {
  for (const std::string& run : golden_->run_names()) {
    const auto policy = Policy(run);
    for (const std::string& name : golden_->sequence_names()) {
      ExpectGolden(run, name, runner_->Run({golden_->sequence(name)}, *policy)[0],
                   golden_->CertainTokens(run, name));
    }
  }
}

TEST_P(ModelGoldenTest, ChunksOfAnyLengthGiveWhatTheWholeSequenceGives) {
  const std::string run = golden_->default_run();
  const auto policy = Policy(run);
  for (const int chunk : {1, 7, 16, 129}) {
    SCOPED_TRACE(chunk);
    for (const char* name : {"len17", "len64", "len130"}) {
      ExpectGolden(run, name, runner_->Run({golden_->sequence(name)}, *policy, chunk)[0],
                   golden_->CertainTokens(run, name));
    }
  }
}

TEST_P(ModelGoldenTest, SequencesShareStepsWithoutSeeingEachOther) {
  for (const std::string& run : golden_->run_names()) {
    const auto policy = Policy(run);
    std::vector<std::vector<TokenId>> sequences;
    for (const nlohmann::json& name : golden_->json().at("batch")) {
      sequences.push_back(golden_->sequence(name));
    }
    for (const int chunk : {1 << 20, 5}) {
      const std::vector<SequenceResult> results = runner_->Run(sequences, *policy, chunk);
      for (size_t i = 0; i < sequences.size(); ++i) {
        const std::string name = golden_->json().at("batch")[i];
        ExpectGolden(run, name, results[i], golden_->CertainTokens(run, name));
      }
    }
  }
}

TEST_P(ModelGoldenTest, ResidualStreamMatchesInEveryLayer) {
  const std::string key = "len17." + golden_->default_run();
  const SequenceResult result =
      runner_->Run({golden_->sequence("len17")}, *Policy(golden_->default_run()))[0];
  const std::vector<float> golden = golden_->Floats(key + ".hidden_states");
  const size_t of_layer = golden.size() / result.hidden_states.size();
  for (size_t layer = 0; layer < result.hidden_states.size(); ++layer) {
    EXPECT_LT(MaxDifference(std::span(golden).subspan(layer * of_layer),
                            result.hidden_states[layer], of_layer),
              kHiddenTolerance)
        << "after layer " << layer;
  }
  EXPECT_LT(MaxDifference(golden_->Floats(key + ".final_norm"), result.final_norm, of_layer),
            kHiddenTolerance);
}

TEST_P(ModelGoldenTest, MeanNllMatchesOverAllSequences) {
  for (const std::string& run : {golden_->default_run(), std::string("top_p_0.6")}) {
    double sum = 0;
    size_t number = 0;
    for (const std::string& name : golden_->sequence_names()) {
      const SequenceResult result = runner_->Run({golden_->sequence(name)}, *Policy(run))[0];
      for (const float logprob : result.next_logprobs) sum -= logprob;
      number += result.next_logprobs.size();
    }
    const nlohmann::json& golden = golden_->json().at("runs").contains(run)
                                       ? golden_->json().at("runs").at(run)
                                       : golden_->json().at("variants").at(run);
    EXPECT_NEAR(sum / static_cast<double>(number), golden.at("mean_nll").get<double>(), 2e-4);
  }
}

// Token by token from the cache, until the first step that rounding may decide.
TEST_P(ModelGoldenTest, GreedyContinuationsMatchTokenByToken) {
  constexpr double kUncertainLogit = 1e-3;
  constexpr double kUncertainRouting = 2e-5;
  int compared = 0;
  const auto expect = [&](const std::string& run, const std::string& name,
                          const nlohmann::json& golden) {
    SCOPED_TRACE(run + " " + name);
    const nlohmann::json margin =
        golden.contains("min_routing_margin") ? golden.at("min_routing_margin") : nlohmann::json();
    if (margin.is_number() && margin.get<double>() < kUncertainRouting) return;
    const std::vector<TokenId> ids = golden.at("ids");
    SamplingParams greedy;
    greedy.temperature = 0;
    const SequenceRunner::Generated generated = runner_->Generate(
        golden_->sequence(name), static_cast<int>(ids.size()), *Policy(run), greedy);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (golden.at("top2_logit_margin")[i].get<double>() < kUncertainLogit) break;
      ASSERT_EQ(generated.ids[i], ids[i]) << "step " << i;
      EXPECT_NEAR(generated.logprobs[i], golden.at("logprobs")[i].get<float>(), 2e-4);
      ++compared;
    }
  };
  for (const auto& [run, names] : golden_->json().at("greedy").items()) {
    for (const auto& [name, golden] : names.items()) expect(run, name, golden);
  }
  for (const auto& [run, variant] : golden_->json().at("variants").items()) {
    for (const auto& [name, golden] : variant.at("greedy").items()) expect(run, name, golden);
  }
  EXPECT_GT(compared, 400);
}

INSTANTIATE_TEST_SUITE_P(, ModelGoldenTest,
                         ::testing::Combine(::testing::Values("standard", "sharded"),
                                            ::testing::ValuesIn(KernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               TestName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace olmoe::model
