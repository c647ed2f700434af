// Whole models under adjusted and written rules, rules for late rows, routers of their own and
// replays, in float32 on the CPU: README of tests/data/selection/golden.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "server/api/policy_proto.h"
#include "server/routing/calibration.h"
#include "server/routing/router.h"
#include "tests/model/golden.h"
#include "tests/model/kernel_names.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

// More than ten times the noise of float32.
constexpr double kLogprobTolerance = 2e-4;
constexpr double kWeightTolerance = 1e-4;

// Model and kernels.
class SelectionGoldenTest : public ::testing::TestWithParam<std::tuple<const char*, std::string>> {
 protected:
  void SetUp() override {
    const std::string name = std::get<0>(GetParam());
    OLMOE_REQUIRE_DATA(model_folder, absl::StrCat("golden/", name));
    OLMOE_REQUIRE_DATA(numbers, absl::StrCat("selection/golden/", name, ".json"));
    golden_ = std::make_unique<Golden>(numbers.substr(0, numbers.rfind('/')), name);
    ASSERT_TRUE(calibrations_.Add(ReadGoldenCalibration(model_folder)).ok());
    LoadOptions options;
    options.dir = model_folder;
    options.dtype = DType::kFloat32;
    options.threads = 1;
    options.cpu_isa = std::get<1>(GetParam());
    runner_ = std::make_unique<SequenceRunner>(options);
    AddGoldenRouter();
  }

  void AddGoldenRouter() {
    routing::Router::Options options{.router_id = "golden", .layers = {}};
    for (const int layer : golden_->json().at("router_layers")) {
      options.layers.emplace(layer, routing::RouterWeights(golden_->Floats(
                                        absl::StrCat("model.layers.", layer, ".mlp.gate.weight"))));
    }
    options.prepared = *runner_->model()->PrepareRouter(options.layers);
    ASSERT_TRUE(routers_.Add(*routing::Router::Create(std::move(options))).ok());
  }

  // That of `otherwise` for a replay.
  std::shared_ptr<const routing::RoutingPolicy> PolicyOf(const nlohmann::json& plan) {
    const bool replays = plan.contains("replay");
    const nlohmann::json& owner = replays ? plan.at("replay") : plan;
    const char* const name = replays ? "otherwise" : "policy";
    if (!owner.contains(name))
      return routing::RoutingPolicy::Native(runner_->info().router_shape());
    v1::RoutingPolicy message;
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(owner.at(name).dump(), &message);
    EXPECT_TRUE(parsed.ok()) << parsed.ToString();
    api::RequestErrors errors;
    auto policy = routing::RoutingPolicy::Create(api::ToPolicySpec(message, "policy", &errors),
                                                 runner_->info().router_shape(),
                                                 {&calibrations_, &routers_}, "policy");
    EXPECT_TRUE(errors.empty());
    EXPECT_TRUE(policy.ok()) << policy.status();
    return policy.ok() ? *policy : nullptr;
  }

  // The stored trace that a plan replays for a sequence. Null for a plan that is no replay.
  std::unique_ptr<routing::RecordedRouting> ReplayOf(const nlohmann::json& plan,
                                                     const std::string& sequence) {
    if (!plan.contains("replay")) return nullptr;
    const nlohmann::json& json = plan.at("replay");
    const std::string key = absl::StrCat(sequence, ".", json.at("trace_of").get<std::string>());
    routing::Replay replay;
    replay.num_positions = json.at("num_positions").at(sequence);
    replay.num_layers = static_cast<uint64_t>(runner_->info().num_layers);
    size_t selections = 0;
    for (const int count : golden_->Ints(key + ".counts")) {
      if (replay.counts.size() == replay.num_positions * replay.num_layers) break;
      replay.counts.push_back(static_cast<uint8_t>(count));
      selections += static_cast<size_t>(count);
    }
    for (const int expert : golden_->Ints(key + ".experts")) {
      replay.experts.push_back(static_cast<uint8_t>(expert));
    }
    replay.experts.resize(selections);
    replay.weights = golden_->Floats(key + ".weights");
    replay.weights.resize(selections);
    if (json.at("weights") == "RECORDED") replay.mode = routing::ReplayWeights::kRecorded;
    return Recorded(std::move(replay));
  }

  // What ran.
  std::unique_ptr<routing::RecordedRouting> ReplayOf(const SequenceResult& result,
                                                     routing::ReplayWeights mode) {
    routing::Replay replay;
    replay.num_positions = result.expert_ids[0].size();
    replay.num_layers = result.expert_ids.size();
    replay.mode = mode;
    for (size_t position = 0; position < replay.num_positions; ++position) {
      for (size_t layer = 0; layer < replay.num_layers; ++layer) {
        const std::vector<int>& ids = result.expert_ids[layer][position];
        const std::vector<float>& weights = result.expert_weights[layer][position];
        replay.counts.push_back(static_cast<uint8_t>(ids.size()));
        replay.experts.insert(replay.experts.end(), ids.begin(), ids.end());
        replay.weights.insert(replay.weights.end(), weights.begin(), weights.end());
      }
    }
    return Recorded(std::move(replay));
  }

  std::unique_ptr<routing::RecordedRouting> Recorded(routing::Replay replay) {
    std::vector<FieldViolation> violations;
    routing::ValidateReplay(replay, runner_->info().router_shape(), "replay", &violations);
    EXPECT_TRUE(violations.empty());
    return violations.empty() ? std::make_unique<routing::RecordedRouting>(std::move(replay))
                              : nullptr;
  }

  // Positions before the first decision that rounding may turn.
  size_t CertainTokens(const std::string& plan, const std::string& sequence, size_t length) {
    size_t certain = length;
    for (const nlohmann::json& near : golden_->json().at("near")) {
      if (near[0] == plan && near[1] == sequence)
        certain = std::min(certain, near[3].get<size_t>());
    }
    return certain;
  }

  void ExpectGolden(const std::string& key, const SequenceResult& result, size_t certain) {
    const std::vector<float> logprobs = golden_->Floats(key + ".next_logprobs");
    ASSERT_EQ(result.next_logprobs.size(), logprobs.size());
    for (size_t i = 0; i < std::min(certain, logprobs.size()); ++i) {
      EXPECT_NEAR(result.next_logprobs[i], logprobs[i], kLogprobTolerance) << "position " << i;
    }
    const std::vector<int> counts = golden_->Ints(key + ".counts");
    const std::vector<int> experts = golden_->Ints(key + ".experts");
    const std::vector<float> weights = golden_->Floats(key + ".weights");
    const size_t layers = static_cast<size_t>(runner_->info().num_layers);
    size_t next = 0;
    for (size_t slot = 0; slot < certain * layers; ++slot) {
      const size_t position = slot / layers, layer = slot % layers;
      std::map<int, float> expected, found;
      for (int i = 0; i < counts[slot]; ++i, ++next) expected[experts[next]] = weights[next];
      const std::vector<int>& ran = result.expert_ids[layer][position];
      for (size_t i = 0; i < ran.size(); ++i) {
        found[ran[i]] = result.expert_weights[layer][position][i];
      }
      ASSERT_EQ(found.size(), expected.size()) << "layer " << layer << " position " << position;
      for (const auto& [expert, weight] : expected) {
        ASSERT_TRUE(found.contains(expert)) << "layer " << layer << " position " << position;
        EXPECT_NEAR(found[expert], weight, kWeightTolerance);
      }
    }
  }

  std::unique_ptr<Golden> golden_;
  routing::CalibrationSet calibrations_;
  routing::RouterSet routers_;
  std::unique_ptr<SequenceRunner> runner_;
};

TEST_P(SelectionGoldenTest, EveryPlanMatchesInWholeSequencesAndInChunks) {
  int plans = 0;
  for (const auto& [plan, json] : golden_->json().at("plans").items()) {
    const auto policy = PolicyOf(json);
    if (policy == nullptr) continue;
    ++plans;
    for (const auto& [name, sequence] : golden_->json().at("sequences").items()) {
      const std::vector<TokenId> ids = sequence.at("ids");
      SequenceRunner::RequestPart part;
      part.prompt_tokens = sequence.at("prompt_tokens");
      part.routing_seed = json.value("routing_seed", uint64_t{0});
      const auto replay = ReplayOf(json, name);
      part.replay = replay.get();
      for (const int chunk : {1 << 20, 7}) {
        SCOPED_TRACE(absl::StrCat(plan, " ", name, " chunks of ", chunk));
        ExpectGolden(absl::StrCat(name, ".", plan), runner_->Run({ids}, *policy, chunk, part)[0],
                     CertainTokens(plan, name, ids.size()));
      }
    }
  }
  EXPECT_EQ(plans, 21);
}

TEST_P(SelectionGoldenTest, GreedyTokensMatchWithLateRows) {
  constexpr double kUncertainLogit = 1e-3;
  int compared = 0;
  for (const auto& [plan, sequences] : golden_->json().at("greedy").items()) {
    const nlohmann::json& greedy = sequences.at("short");
    const nlohmann::json& json = golden_->json().at("plans").at(plan);
    const auto policy = PolicyOf(json);
    if (policy == nullptr) continue;
    SCOPED_TRACE(plan);
    const nlohmann::json& sequence = golden_->json().at("sequences").at("short");
    std::vector<TokenId> prompt = sequence.at("ids");
    prompt.resize(sequence.at("prompt_tokens").get<size_t>());
    const std::vector<TokenId> ids = greedy.at("ids");
    SamplingParams params;
    params.temperature = 0;
    const SequenceRunner::Generated generated =
        runner_->Generate(prompt, static_cast<int>(ids.size()), *policy, params,
                          json.value("routing_seed", uint64_t{0}));
    for (size_t i = 0; i < ids.size(); ++i) {
      if (greedy.at("top2_logit_margin")[i].get<double>() < kUncertainLogit) break;
      ASSERT_EQ(generated.ids[i], ids[i]) << "step " << i;
      EXPECT_NEAR(generated.logprobs[i], greedy.at("logprobs")[i].get<float>(), kLogprobTolerance);
      ++compared;
    }
  }
  EXPECT_GT(compared, 20);
}

// Score of what Generate generated under a rule for late rows: the same bits.
TEST_P(SelectionGoldenTest, ScoreUnderADecodeRuleHasTheBitsOfGenerate) {
  // LibTorch's products round by the number of rows.
  if (std::get<1>(GetParam()) == "aten") GTEST_SKIP() << "steps of other sizes have other bits";
  const auto policy = PolicyOf(golden_->json().at("plans").at("decode_layers"));
  const std::vector<TokenId> prompt = {1, 2, 3, 4, 5};
  SamplingParams params;
  params.temperature = 0;
  const SequenceRunner::Generated generated = runner_->Generate(prompt, 12, *policy, params);
  std::vector<TokenId> whole = prompt;
  whole.insert(whole.end(), generated.ids.begin(), generated.ids.end());
  SequenceRunner::RequestPart part;
  part.prompt_tokens = 5;
  const SequenceResult scored = runner_->Run({whole}, *policy, 1 << 20, part)[0];
  for (size_t i = 0; i < generated.ids.size(); ++i) {
    EXPECT_EQ(scored.next_logprobs[4 + i], generated.logprobs[i]) << i;
  }
}

// A text under the routing that it left: the bits that it had. Recorded weights do so for every
// policy, live ones where the policy's are those of all raw logits.
TEST_P(SelectionGoldenTest, AReplayHasTheBitsOfThePolicyThatLeftIt) {
  const std::set<std::string> other_weights = {"ban_redistribute",
                                               "ban_default_weights",
                                               "steer",
                                               "bias_both",
                                               "expression_adjusted",
                                               "combined",
                                               "bh_ban",
                                               "decode",
                                               "router_ban"};
  const nlohmann::json& sequence = golden_->json().at("sequences").at("middle");
  const std::vector<TokenId> ids = sequence.at("ids");
  const auto native = routing::RoutingPolicy::Native(runner_->info().router_shape());
  int live = 0;
  for (const auto& [plan, json] : golden_->json().at("plans").items()) {
    if (json.contains("replay")) continue;
    const auto policy = PolicyOf(json);
    if (policy == nullptr) continue;
    SCOPED_TRACE(plan);
    SequenceRunner::RequestPart part;
    part.prompt_tokens = sequence.at("prompt_tokens");
    part.routing_seed = json.value("routing_seed", uint64_t{0});
    const SequenceResult under = runner_->Run({ids}, *policy, 1 << 20, part)[0];
    const auto expect_same = [&](routing::ReplayWeights mode,
                                 const routing::RoutingPolicy& otherwise) {
      const auto replay = ReplayOf(under, mode);
      ASSERT_NE(replay, nullptr);
      SequenceRunner::RequestPart replayed = part;
      replayed.replay = replay.get();
      const SequenceResult result = runner_->Run({ids}, otherwise, 1 << 20, replayed)[0];
      EXPECT_EQ(result.logits, under.logits);
      EXPECT_EQ(result.expert_ids, under.expert_ids);
      EXPECT_EQ(result.expert_weights, under.expert_weights);
    };
    expect_same(routing::ReplayWeights::kRecorded, *native);
    if (other_weights.contains(plan)) continue;
    ++live;
    expect_same(routing::ReplayWeights::kLive, *policy);
  }
  EXPECT_EQ(live, 9);
}

INSTANTIATE_TEST_SUITE_P(Models, SelectionGoldenTest,
                         ::testing::Combine(::testing::Values("sharded", "standard"),
                                            ::testing::ValuesIn(KernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               TestName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace olmoe::model
