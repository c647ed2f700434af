// What a score request delivers.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "tests/engine/harness.h"

namespace olmoe::engine {
namespace {

std::vector<ScoreWindow> ManyWindows(int num_windows) {
  std::vector<ScoreWindow> windows;
  for (int i = 0; i < num_windows; ++i) {
    const int tokens = 2 + i * 7 % 30;
    windows.push_back({.tokens = Range(i % 20, tokens), .first_scored = 1 + i % (tokens - 1)});
  }
  return windows;
}

TEST(ScoreTest, ScoresOfAGreedyReplyAreItsLogprobsWithRankOne) {
  Harness harness;
  Request generate = harness.Generate({5, 6, 7}, 10, /*k=*/3);
  std::get<GenerateWork>(generate.work).logprobs = true;
  std::get<GenerateWork>(generate.work).top_logprobs = 2;
  const Reply generated = harness.Run(std::move(generate));

  std::vector<TokenId> tokens = {5, 6, 7};
  for (TokenId token : generated.token_ids()) tokens.push_back(token);
  Request score = harness.Score({{.tokens = tokens, .first_scored = 3}}, /*k=*/3);
  std::get<ScoreWork>(score.work).top = 2;
  const Reply reply = harness.Run(std::move(score));
  const std::vector<ScoredToken>& scored = reply.windows.at(0).tokens;
  ASSERT_EQ(scored.size(), generated.tokens.size());
  for (size_t i = 0; i < scored.size(); ++i) {
    EXPECT_EQ(scored[i].token, generated.tokens[i].token);
    EXPECT_EQ(scored[i].logprob, generated.tokens[i].logprob);
    EXPECT_EQ(scored[i].rank, 1u);
    ASSERT_EQ(scored[i].top.size(), 2u);
    EXPECT_EQ(scored[i].top[1].token, generated.tokens[i].top[1].token);
  }
  EXPECT_EQ(harness.model.counters().rows, 3 + 9 + 12) << "a window's last token is not computed";
}

// Late rows are those beyond the prompt, by position and not by phase.
TEST(ScoreTest, ScoreUnderADecodeRuleIsWhatGenerateHad) {
  Harness harness({.engine = {.max_batch_tokens = 4}});
  routing::PolicySpec spec;
  spec.policy_id = "late";
  spec.decode = routing::Rule{.kind = routing::TopK{1}};
  spec.decode->adjust.noise = routing::Noise{0.5};
  const auto late =
      routing::RoutingPolicy::Create(spec, harness.model.info().router_shape(), nullptr, "")
          .value();
  const auto run = [&](Request request, uint64_t routing_seed) {
    if (auto* work = std::get_if<GenerateWork>(&request.work)) work->logprobs = true;
    std::visit([](auto& work) { work.trace = {.experts = true}; }, request.work);
    request.assignment.policy = late;
    request.routing_seed = routing_seed;
    return harness.Run(std::move(request));
  };
  const Reply generated = run(harness.Generate({5, 6, 7, 8, 9}, 10), 3);
  std::vector<TokenId> tokens = {5, 6, 7, 8, 9};
  for (TokenId token : generated.token_ids()) tokens.push_back(token);

  const Reply scored = run(harness.Score({{.tokens = tokens, .first_scored = 5}}), 3);
  const WindowScores& window = scored.windows.at(0);
  ASSERT_EQ(window.tokens.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(window.tokens[i].logprob, generated.tokens[i].logprob) << i;
  }
  EXPECT_EQ(window.trace.experts, generated.trace.experts);
  const int native = harness.model.info().default_top_k, layers = harness.model.info().num_layers;
  for (size_t slot = 0; slot < window.trace.counts.size(); ++slot) {
    EXPECT_EQ(window.trace.counts[slot], slot < size_t{5} * layers ? native : 1) << slot;
  }
  const Reply other_seed = run(harness.Score({{.tokens = tokens, .first_scored = 5}}), 4);
  EXPECT_NE(other_seed.windows.at(0).trace.experts, window.trace.experts);
  const Reply all_late =
      run(harness.Score({{.tokens = tokens, .first_scored = 5, .prompt_tokens = 0}}), 3);
  EXPECT_EQ(all_late.windows.at(0).trace.counts.front(), 1);
}

TEST(ScoreTest, ScoreWindowsAreScoredOnceEach) {
  const std::vector<ScoreWindow> windows = ManyWindows(40);
  Harness harness({.engine = {.max_batch_sequences = 5, .max_batch_tokens = 16}});
  const Reply reply = harness.Run(harness.Score(windows));
  EXPECT_TRUE(reply.completion.status.ok());
  ASSERT_EQ(reply.windows.size(), windows.size());
  size_t prompt_tokens = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    prompt_tokens += windows[i].tokens.size();
    const std::vector<ScoredToken>& scored = reply.windows.at(static_cast<int>(i)).tokens;
    ASSERT_EQ(scored.size(), windows[i].tokens.size() - windows[i].first_scored);
    for (size_t j = 0; j < scored.size(); ++j) {
      EXPECT_EQ(scored[j].token, windows[i].tokens[windows[i].first_scored + j]);
    }
    Harness alone;
    Reply solo = alone.Run(alone.Score({windows[i]}));
    EXPECT_EQ(solo.windows.at(0).tokens.size(), scored.size());
    EXPECT_EQ(solo.windows.at(0).tokens.back().logprob, scored.back().logprob);
    EXPECT_EQ(solo.windows.at(0).tokens.back().rank, scored.back().rank);
  }
  EXPECT_EQ(reply.completion.prompt_tokens, prompt_tokens);
}

TEST(ScoreTest, ChunkedWindowsEqualWholeWindows) {
  std::set<std::string> replies;
  for (int max_batch_tokens : {1, 4, 9, 512}) {
    Harness harness({.engine = {.max_batch_sequences = 1, .max_batch_tokens = max_batch_tokens}});
    Request request = harness.Score(ManyWindows(12), /*k=*/3);
    std::get<ScoreWork>(request.work).top = 3;
    std::get<ScoreWork>(request.work).trace = {.experts = true, .weights = true, .logits = true};
    replies.insert(Fingerprint(harness.Run(std::move(request))));
  }
  EXPECT_EQ(replies.size(), 1u);
}

TEST(ScoreTest, TraceOfAWindowCoversItsComputedPositions) {
  Harness harness({.engine = {.max_batch_sequences = 2, .max_batch_tokens = 4}});
  Request request = harness.Score({{.tokens = Range(1, 11), .first_scored = 8}});
  std::get<ScoreWork>(request.work).trace = {.experts = true};
  const Reply reply = harness.Run(std::move(request));
  EXPECT_EQ(reply.windows.at(0).trace.num_positions, 10);
  EXPECT_EQ(reply.completion.expert_activations, reply.windows.at(0).trace.experts.size());
}

TEST(ScoreTest, WindowOfOneTokenMoreThanTheContextIsScored) {
  Harness harness({.model = {.max_context = 32, .page_tokens = 4, .num_pages = 8}});
  const Reply reply = harness.Run(harness.Score({{.tokens = Range(1, 33), .first_scored = 32}}));
  EXPECT_TRUE(reply.completion.status.ok());
  EXPECT_EQ(reply.windows.at(0).tokens.size(), 1u);
}

TEST(ScoreTest, LastLogitsAreThoseOfTheLastComputedRowAndOnlyWhereAskedFor) {
  const std::vector<ScoreWindow> window = {{.tokens = Range(1, 11), .first_scored = 10}};
  std::set<std::vector<float>> logits;
  for (int max_batch_tokens : {4, 512}) {
    Harness harness({.engine = {.max_batch_sequences = 1, .max_batch_tokens = max_batch_tokens}});
    Request request = harness.Score(window);
    std::get<ScoreWork>(request.work).last_logits = true;
    const WindowScores scores = harness.Run(std::move(request)).windows.at(0);
    ASSERT_EQ(scores.last_logits.size(), 64u);
    logits.insert(scores.last_logits);
    // Of the row that the one score was taken from.
    const float logit = scores.last_logits.at(scores.tokens.at(0).token);
    const auto above =
        std::ranges::count_if(scores.last_logits, [&](float l) { return l > logit; });
    EXPECT_EQ(scores.tokens[0].rank, above + 1);
    EXPECT_TRUE(harness.Run(harness.Score(window)).windows.at(0).last_logits.empty());
  }
  EXPECT_EQ(logits.size(), 1u);
}

TEST(ScoreTest, AFailedRowEndsTheRequestAndItsOtherWindows) {
  Harness harness({.model = {.nan_token = 63}});
  harness.model.Hold();
  const auto bad = harness.Submit(harness.Score({{.tokens = Range(1, 5), .first_scored = 1},
                                                 {.tokens = {1, 63, 2}, .first_scored = 1},
                                                 {.tokens = Range(2, 5), .first_scored = 1}}));
  harness.model.AwaitStepBegun(1);
  const auto good = harness.Submit(harness.Score({{.tokens = Range(1, 5), .first_scored = 1}}));
  harness.model.Unhold();
  const Reply reply = bad.sink->AwaitDone();
  EXPECT_EQ(reply.completion.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(reply.completion.status.message(), "router logits of layer 1 are not finite");
  EXPECT_EQ(reply.windows.size(), 1u) << "nothing is told after the failure";
  EXPECT_TRUE(good.sink->AwaitDone().completion.status.ok());
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
}

TEST(ScoreTest, PausedScoreRequestBeginsNoMoreWindows) {
  Harness harness({.engine = {.max_batch_sequences = 4, .max_batch_tokens = 4}});
  const auto sink = std::make_shared<RecordingSink>();
  sink->flow = [](const Reply& so_far) {
    return so_far.windows.size() == 2 ? Flow::kPause : Flow::kContinue;
  };
  std::vector<ScoreWindow> windows(10, {.tokens = Range(1, 5), .first_scored = 1});
  const auto paused = harness.Submit(harness.Score(windows), sink);
  // A window a step; the completion is served while the other waits.
  EXPECT_EQ(harness.Run(harness.Generate({1}, 50)).tokens.size(), 50u);
  EXPECT_EQ(paused.sink->so_far().windows.size(), 2u);
  harness.engine->Resume(paused.handle);
  EXPECT_EQ(paused.sink->AwaitDone().windows.size(), 10u);
}

}  // namespace
}  // namespace olmoe::engine
