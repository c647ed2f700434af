#include "server/http/live_state.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/http/live_fixture.h"

namespace olmoe::http {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

uint64_t Sum(const json& counts) {
  uint64_t sum = 0;
  for (const json& count : counts) sum += count.get<uint64_t>();
  return sum;
}

TEST_F(LiveTest, AServerWithoutTrafficTellsItsPlanAndModel) {
  const json state = State();
  EXPECT_EQ(state["version"], 1);
  EXPECT_EQ(state["server"], (json{{"version", "1.2.3"}, {"start_time", 1000}, {"ready", true}}));
  EXPECT_EQ(state["model"]["layers"], 2);
  EXPECT_EQ(state["model"]["experts"], 8);
  EXPECT_EQ(state["plan"]["generation"], 1);
  EXPECT_EQ(state["plan"]["source"], "startup");
  EXPECT_TRUE(state["plan"]["expire_time"].is_null());
  EXPECT_EQ(state["plan"]["arms"][0]["policy"]["apply"], "the model's own top 2");
  EXPECT_EQ(state["plan"]["arms"][0]["policy"]["kind"], "native");
  EXPECT_EQ(state["counters"], json::array());
  EXPECT_EQ(state["swaps"].size(), 1);
  EXPECT_EQ(Experts()["arms"], json::array());
  ready_ = false;
  EXPECT_EQ(State()["server"]["ready"], false);
}

TEST_F(LiveTest, CountsAreThoseOfTheEngine) {
  Generate(5, 7);
  metrics_.OnRequestDone(
      engine::OutcomeOf("default", "Generate", nullptr, absl::StatusCode::kCancelled));
  metrics_.OnRequestDone(
      engine::OutcomeOf("", "Generate", nullptr, absl::StatusCode::kInvalidArgument));
  const json state = State();
  ASSERT_EQ(state["counters"].size(), 2);
  const json& refused = state["counters"][0];
  EXPECT_EQ(refused["arm"], "");
  EXPECT_EQ(refused["requests"], (json{{"ok", 0}, {"failed", 1}}));
  const json& arm = state["counters"][1];
  EXPECT_EQ(arm["arm"], "default");
  EXPECT_EQ(arm["requests"], (json{{"ok", 1}, {"failed", 1}}));
  EXPECT_EQ(arm["tokens"], (json{{"prefill", 5}, {"decode", 6}, {"score", 0}}));
  const std::vector<std::pair<std::string, int>> histograms = {{"time_to_first_token_seconds", 1},
                                                               {"time_per_output_token_seconds", 1},
                                                               {"inter_token_latency_seconds", 6}};
  for (const auto& [histogram, values] : histograms) {
    EXPECT_EQ(Sum(arm[histogram]), values) << histogram;
    EXPECT_EQ(arm[histogram].size(), state["buckets"][histogram].size() + 1) << histogram;
  }
}

TEST_F(LiveTest, APlanIsToldInWordsWithItsSharesAndItsEnd) {
  routing::ArmSpec control = Arm("control", 3), treated = Arm("treated", 1);
  control.policy.analyze = routing::Rule{routing::TopK{4}, {}};
  treated.policy.apply = routing::Rule{routing::TopP{0.5, {{}, 6}}, {}};
  treated.policy.layer_overrides = {{{0, 1}, routing::Rule{routing::TopK{1}, {}}, {}}};
  treated.policy.description = "a \"quoted\" description";
  routing::PatchOptions options;
  options.ttl = absl::Seconds(90);
  Patch({control, treated}, "a note", options);

  const json state = State(), plan = state["plan"];
  EXPECT_EQ(plan["generation"], 2);
  EXPECT_EQ(plan["source"], "patch");
  EXPECT_EQ(plan["note"], "a note");
  EXPECT_EQ(plan["activate_time"], state["time"]);
  EXPECT_EQ(plan["expire_time"].get<double>(), state["time"].get<double>() + 90);
  EXPECT_EQ(plan["arms"][0]["share"], 0.75);
  EXPECT_EQ(plan["arms"][0]["policy"]["analyze"], "top 4");
  EXPECT_EQ(plan["arms"][1]["weight"], 1);
  const json& policy = plan["arms"][1]["policy"];
  EXPECT_EQ(policy["apply"], "top-p 0.5, at most 6");
  EXPECT_EQ(policy["kind"], "top_p");
  EXPECT_TRUE(policy["analyze"].is_null());
  EXPECT_EQ(policy["description"], "a \"quoted\" description");
  EXPECT_EQ(policy["router"], "");
  EXPECT_EQ(
      policy["layer_overrides"],
      (json::array(
          {{{"layers", "0-1"}, {"apply", "top 1"}, {"analyze", nullptr}, {"decode", nullptr}}})));
}

TEST_F(LiveTest, RunningRequestsAreCountedByArmAndTellNothingOfThemselves) {
  model_.Hold();
  const auto sink = Submit(3, 2);
  model_.AwaitStepBegun(1);
  routing::PatchOptions options;
  options.actor = "secret-actor";
  Patch({Arm("default", 1)}, "", options);
  const json state = State();
  EXPECT_EQ(state["engine"]["running"], 1);
  EXPECT_EQ(state["plan"]["arms"][0]["running"], 1);
  EXPECT_EQ(state["plan"]["arms"][0]["queued"], 0);
  EXPECT_EQ(state["plan"]["requests_on_older_plans"], 1);
  EXPECT_THAT(state.dump() + Experts().dump(), Not(HasSubstr("secret")));
  model_.Unhold();
  sink->AwaitDone();
}

TEST_F(LiveTest, SwapsAreTheNewestFirstAndBounded) {
  for (uint32_t i = 0; i < LiveState::kMaxSwaps + 5; ++i) Patch({Arm("default", 1 + i % 2)});
  const json swaps = State()["swaps"];
  ASSERT_EQ(swaps.size(), LiveState::kMaxSwaps);
  EXPECT_EQ(swaps[0]["generation"], LiveState::kMaxSwaps + 6);
  EXPECT_EQ(swaps[1]["generation"], LiveState::kMaxSwaps + 5);
  EXPECT_EQ(swaps[0]["source"], "patch");
}

TEST_F(LiveTest, TheHistoryIsReadOnceASwap) {
  State();
  const int after_first = store_.num_lists;
  State();
  EXPECT_EQ(store_.num_lists, after_first);
  Patch({Arm("default", 1)});
  State();
  EXPECT_EQ(store_.num_lists, after_first + 1);
}

TEST_F(LiveTest, AHistoryThatCanNotBeReadLeavesTheSwapsBeforeIt) {
  State();
  store_.unreadable = true;
  Patch({Arm("default", 1)});
  EXPECT_EQ(State()["plan"]["generation"], 2);
  EXPECT_EQ(State()["swaps"].size(), 1);
  store_.unreadable = false;
  EXPECT_EQ(State()["swaps"].size(), 2);
}

TEST_F(LiveTest, ExpertsAreThoseOfTheStatisticsSummedOverPhases) {
  routing::ArmSpec arm = Arm("a", 1);
  arm.policy.analyze = routing::Rule{routing::TopK{3}, {}};
  Patch({arm, Arm("b", 1)});
  Generate(5, 7, "a");
  Generate(2, 2, "b");
  const json experts = Experts();
  EXPECT_EQ(experts["generation"], 2);
  ASSERT_EQ(experts["arms"].size(), 3);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"a", "applied"}, {"a", "analyzed"}, {"b", "applied"}};
  for (size_t i = 0; i < expected.size(); ++i) {
    const json& shown = experts["arms"][i];
    EXPECT_EQ(shown["arm"], expected[i].first);
    EXPECT_EQ(shown["decision"], expected[i].second);
    std::vector<stats::LayerCounts> layers(2);
    for (const stats::ExpertCounts& part : metrics_.experts().Snapshot()) {
      const bool applied = part.kind == stats::DecisionKind::kApplied;
      if (part.arm_id != expected[i].first) continue;
      if (applied != (expected[i].second == "applied")) continue;
      for (size_t layer = 0; layer < 2; ++layer) layers[layer] += part.layers[layer];
    }
    EXPECT_EQ(shown["tokens"], layers[0].tokens);
    for (size_t layer = 0; layer < 2; ++layer) {
      EXPECT_EQ(shown["expert_tokens"][layer], layers[layer].expert_tokens);
      EXPECT_EQ(shown["experts_per_token"][layer], layers[layer].experts_per_token);
    }
  }
  EXPECT_EQ(experts["arms"][0]["tokens"], 11);
  EXPECT_EQ(experts["arms"][1]["experts_per_token"][0][3], 11);
}

routing::Rule TopTwo(std::vector<uint32_t> ban, std::vector<uint32_t> force) {
  routing::Rule rule{routing::TopK{2}, {}};
  rule.adjust.ban = std::move(ban);
  rule.adjust.force = std::move(force);
  return rule;
}

TEST_F(LiveTest, ExpertsThatNeverOrAlwaysRunAreNamed) {
  routing::ArmSpec arm = Arm("a", 1);
  arm.policy.apply = TopTwo({3, 1}, {0});
  arm.policy.analyze = TopTwo({2}, {});
  // Tokens beyond the prompt may run expert 1, and need not run expert 0.
  arm.policy.layer_overrides.push_back({{1}, {}, {}, TopTwo({3}, {})});
  Patch({arm, Arm("b", 1)});
  Generate(5, 7, "a");
  Generate(2, 2, "b");
  const json experts = Experts();
  ASSERT_EQ(experts["arms"].size(), 3);
  EXPECT_EQ(experts["arms"][0]["banned"], json({{1, 3}, {3}}));
  EXPECT_EQ(experts["arms"][0]["forced"], json({json::array({0}), json::array()}));
  EXPECT_EQ(experts["arms"][1]["banned"], json({{2}, {2}}));
  EXPECT_EQ(experts["arms"][1]["forced"], json({json::array(), json::array()}));
  EXPECT_EQ(experts["arms"][2]["banned"], json({json::array(), json::array()}));
}

TEST_F(LiveTest, ANewPolicyOfAnArmBeginsWithNoExperts) {
  Generate(5, 7);
  ASSERT_EQ(Experts()["arms"].size(), 1);
  routing::ArmSpec narrow = Arm("default", 1);
  narrow.policy.apply = routing::Rule{routing::TopK{1}, {}};
  Patch({narrow});
  EXPECT_EQ(Experts()["arms"], json::array());
  Generate(3, 1);
  EXPECT_EQ(Experts()["arms"][0]["tokens"], 3);
  EXPECT_EQ(Experts()["arms"][0]["experts_per_token"][1][1], 3);
  ASSERT_TRUE(controller_->Rollback({}, {}).ok());
  EXPECT_EQ(Experts()["arms"][0]["tokens"], 11);
}

}  // namespace
}  // namespace olmoe::http
