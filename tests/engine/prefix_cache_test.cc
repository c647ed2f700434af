// Prompts that share pages: replies are those of a cold engine, bit for bit, whatever was in the
// cache, was computed meanwhile, was evicted or was cancelled.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/engine/harness.h"
#include "tests/engine/random_requests.h"
#include "tests/engine/resumer.h"

namespace olmoe::engine {
namespace {

constexpr int kPageTokens = 4;

testing::FakeModelOptions MakeModel(int num_pages) {
  return {.max_context = 128, .page_tokens = kPageTokens, .num_pages = num_pages};
}

Request Shared(Request request, std::string scope = "") {
  request.cache_scope = std::move(scope);
  return request;
}

uint32_t CachedTokens(const Reply& reply) { return reply.completion.cached_prompt_tokens; }

// Rows that it would have needed by itself.
uint64_t AllRows(const Reply& reply) {
  return reply.completion.routed_tokens + CachedTokens(reply) +
         reply.completion.shared_prompt_tokens;
}

TEST(PrefixCacheTest, EveryBeginningOfAPromptIsAHit) {
  const std::vector<TokenId> prompt = Range(1, 13);
  Harness cold({.model = MakeModel(64)});
  for (int shared = 0; shared <= 13; ++shared) {
    SCOPED_TRACE(shared);
    Harness harness({.model = MakeModel(64)});
    harness.Run(Shared(harness.Generate(prompt, 1)));
    std::vector<TokenId> next(prompt.begin(), prompt.begin() + shared);
    while (next.size() < 13) next.push_back(static_cast<TokenId>(40 + next.size()));
    const Reply reply = harness.Run(Shared(harness.Generate(next, 6)));
    // The last token of a prompt is computed in any case: it predicts the first new one.
    EXPECT_EQ(CachedTokens(reply), static_cast<uint32_t>(std::min(shared, 12)));
    EXPECT_EQ(reply.completion.routed_tokens + CachedTokens(reply), 13u + 5u);
    EXPECT_EQ(Fingerprint(reply), Fingerprint(cold.Run(cold.Generate(next, 6))));
    EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
  }
}

Request Scored(Request request, int top = 1) {
  std::get<GenerateWork>(request.work).prompt_logprobs = top;
  return request;
}

TEST(PrefixCacheTest, ScoresOfAPromptAreFoundWithItsPages) {
  const std::vector<TokenId> prompt = Range(1, 13);
  Harness cold({.model = MakeModel(64)});
  for (int shared = 0; shared <= 13; ++shared) {
    SCOPED_TRACE(shared);
    Harness harness({.model = MakeModel(64)});
    harness.Run(Shared(Scored(harness.Generate(prompt, 1))));
    std::vector<TokenId> next(prompt.begin(), prompt.begin() + shared);
    while (next.size() < 13) next.push_back(static_cast<TokenId>(40 + next.size()));
    for (const int top : {0, 1}) {
      const Reply reply = harness.Run(Shared(Scored(harness.Generate(next, 2), top)));
      EXPECT_EQ(Fingerprint(reply), Fingerprint(cold.Run(Scored(cold.Generate(next, 2), top))));
      // The last row that is shared scores a token that is not.
      const int found = top == 0 && shared < 13 ? std::max(shared - 1, 0) : 12;
      EXPECT_EQ(CachedTokens(reply), static_cast<uint32_t>(found));
    }
  }
}

TEST(PrefixCacheTest, ScoresThatNobodyAskedForAreComputed) {
  Harness harness({.model = MakeModel(64)});
  const std::vector<TokenId> prompt = Range(1, 21);
  harness.Run(Shared(harness.Generate(prompt, 1)));
  EXPECT_EQ(CachedTokens(harness.Run(Shared(Scored(harness.Generate(prompt, 1))))), 0u);
  EXPECT_EQ(CachedTokens(harness.Run(Shared(Scored(harness.Generate(prompt, 1))))), 20u);
  EXPECT_EQ(CachedTokens(harness.Run(Shared(Scored(harness.Generate(prompt, 1), 2)))), 0u)
      << "two alternatives are not kept";
}

TEST(PrefixCacheTest, CompletionsOfOneRequestShareItsPromptWithoutACache) {
  Harness harness({.model = MakeModel(64)});
  Request request = harness.Generate(Range(1, 18), 5);
  std::get<GenerateWork>(request.work).num_choices = 4;
  const Reply reply = harness.Run(std::move(request));
  EXPECT_EQ(reply.others.size(), 3u);
  EXPECT_EQ(CachedTokens(reply), 0u) << "it has computed them itself";
  EXPECT_EQ(reply.completion.shared_prompt_tokens, 3u * 17);
  EXPECT_EQ(harness.model.counters().rows, 18 + 4 + 3 * 5);
  EXPECT_EQ(harness.engine->Status().prefix_cache_bytes, 0) << "nothing of it stays";
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
  EXPECT_EQ(CachedTokens(harness.Run(harness.Generate(Range(1, 18), 5))), 0u);
}

TEST(PrefixCacheTest, AnotherScopeOrRoutingIsNoHit) {
  Harness harness({.model = MakeModel(64)});
  const std::vector<TokenId> prompt = Range(1, 20);
  const auto cached = [&](Request request) {
    return CachedTokens(harness.Run(std::move(request)));
  };
  EXPECT_EQ(cached(Shared(harness.Generate(prompt, 1, /*k=*/2), "ann")), 0u);
  EXPECT_EQ(cached(Shared(harness.Generate(prompt, 1, /*k=*/2), "bob")), 0u);
  EXPECT_EQ(cached(Shared(harness.Generate(prompt, 1, /*k=*/3), "ann")), 0u);
  EXPECT_EQ(cached(harness.Generate(prompt, 1, /*k=*/2)), 0u) << "asks for no cache";
  EXPECT_EQ(cached(Shared(harness.Generate(prompt, 1, /*k=*/2), "ann")), 19u);
  EXPECT_EQ(cached(Shared(harness.Generate(prompt, 1), "ann")), 19u) << "the model's own k is 2";
}

TEST(PrefixCacheTest, NoisyRoutingIsNotCached) {
  Harness harness({.model = MakeModel(64)});
  routing::PolicySpec spec;
  spec.policy_id = "noisy";
  spec.apply = routing::Rule{.kind = routing::TopK{2}};
  spec.apply->adjust.noise = routing::Noise{1};
  const auto policy =
      routing::RoutingPolicy::Create(spec, harness.model.info().router_shape(), nullptr, "")
          .value();
  EXPECT_EQ(policy->prompt_digest(), "");
  for (int i = 0; i < 2; ++i) {
    Request request = Shared(harness.Generate(Range(1, 20), 1));
    request.assignment.policy = policy;
    EXPECT_EQ(CachedTokens(harness.Run(std::move(request))), 0u);
  }
}

TEST(PrefixCacheTest, GeneratedTokensAndContinuationsAreNotKept) {
  Harness harness({.model = MakeModel(64)});
  std::vector<TokenId> text = Range(1, 6);
  const Reply reply = harness.Run(Shared(harness.Generate(text, 10)));
  for (TokenId token : reply.token_ids()) text.push_back(token);
  EXPECT_EQ(CachedTokens(harness.Run(Shared(harness.Generate(text, 1)))), 6u);
  harness.Run(Shared(harness.Score({{.tokens = Range(20, 15), .first_scored = 9}})));
  EXPECT_EQ(CachedTokens(harness.Run(Shared(harness.Generate(Range(20, 15), 1)))), 9u);
}

TEST(PrefixCacheTest, ChoicesOfOneQuestionComputeItsContextOnce) {
  Harness harness({.model = MakeModel(64)});
  std::vector<ScoreWindow> windows;
  for (TokenId choice = 40; choice < 44; ++choice) {
    windows.push_back({.tokens = Range(1, 30), .first_scored = 30});
    for (int i = 0; i < 5; ++i) windows.back().tokens.push_back(choice);
  }
  Harness cold({.model = MakeModel(64)});
  const Reply expected = cold.Run(cold.Score(windows));
  const Reply reply = harness.Run(Shared(harness.Score(windows)));
  EXPECT_EQ(Fingerprint(reply), Fingerprint(expected));
  // Row 29 predicts the first token of each choice.
  EXPECT_EQ(CachedTokens(reply), 3u * 29);
  EXPECT_EQ(harness.model.counters().rows, 34 + 3 * 5);
}

TEST(PrefixCacheTest, RequestsWaitForThePromptThatIsBeingComputed) {
  Harness harness({.model = MakeModel(64), .engine = {.max_batch_tokens = 8}});
  harness.model.Hold();
  std::vector<Submitted> submitted;
  submitted.push_back(harness.Submit(Shared(harness.Generate(Range(1, 20), 3))));
  harness.model.AwaitStepBegun(1);
  for (int i = 0; i < 15; ++i) {
    submitted.push_back(harness.Submit(Shared(harness.Generate(Range(1, 20), 3))));
  }
  submitted.push_back(harness.Submit(harness.Generate(Range(40, 3), 1)));  // passes them
  harness.model.Unhold();
  uint32_t cached = 0;
  for (const Submitted& each : submitted) cached += CachedTokens(each.sink->AwaitDone());
  EXPECT_EQ(cached, 15u * 19);
}

TEST(PrefixCacheTest, ACancelledProducerIsWaitedForNoLonger) {
  Harness harness({.model = MakeModel(64), .engine = {.max_batch_tokens = 4}});
  harness.model.Hold();
  const Submitted first = harness.Submit(Shared(harness.Generate(Range(1, 20), 3)));
  harness.model.AwaitStepBegun(1);
  const Submitted second = harness.Submit(Shared(harness.Generate(Range(1, 20), 3)));
  harness.model.Allow(1);
  harness.model.AwaitStepBegun(2);
  harness.engine->Cancel(first.handle, absl::CancelledError(""));
  harness.model.Unhold();
  EXPECT_FALSE(first.sink->AwaitDone().completion.status.ok());
  const Reply reply = second.sink->AwaitDone();
  EXPECT_TRUE(reply.completion.status.ok());
  EXPECT_EQ(CachedTokens(reply), 8u) << "what the first one had computed";
}

TEST(PrefixCacheTest, PromptsThatNobodyUsesGiveWay) {
  Harness harness({.model = MakeModel(/*num_pages=*/16)});
  for (TokenId first = 1; first < 40; first += 2) {
    const Reply reply = harness.Run(Shared(harness.Generate(Range(first, 20), 30)));
    ASSERT_TRUE(reply.completion.status.ok());
  }
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
}

TEST(PrefixCacheTest, ATraceHasWhatWasNotRunAgain) {
  Harness harness({.model = MakeModel(64)});
  const auto traced = [&](TraceOptions trace) {
    Request request = Shared(harness.Generate(Range(1, 11), 3));
    std::get<GenerateWork>(request.work).trace = trace;
    return harness.Run(std::move(request));
  };
  const Reply cold = traced({.experts = true});
  const Reply warm = traced({.experts = true});
  EXPECT_EQ(CachedTokens(warm), 10u);
  EXPECT_EQ(Fingerprint(warm), Fingerprint(cold));
  EXPECT_EQ(warm.trace.num_positions, 13);
  EXPECT_EQ(CachedTokens(traced({.experts = true, .weights = true})), 0u);
  EXPECT_EQ(CachedTokens(traced({.logits = true})), 0u);
}

// Prompts of few beginnings, cut and continued at random.
class Prompts {
 public:
  explicit Prompts(std::mt19937* random) : random_(*random) {}

  std::vector<TokenId> Next(int at_least) {
    const int family = Below(3);
    std::vector<TokenId> tokens;
    for (int i = 0; i < Below(45); ++i) tokens.push_back((7 * family + i * i) % 64);
    for (int i = Below(10); i > 0; --i) tokens.push_back(Below(2));
    while (static_cast<int>(tokens.size()) < at_least) tokens.push_back(Below(2));
    return tokens;
  }

  std::variant<GenerateWork, ScoreWork> NextWork() {
    const TraceOptions trace = {.experts = Below(3) == 0, .weights = Below(8) == 0};
    if (Below(2) == 0) {
      GenerateWork work;
      work.prompt = Next(1);
      work.max_new_tokens = 1 + Below(12);
      work.sampling.temperature = 0;
      work.trace = trace;
      if (Below(4) == 0) work.num_choices = 1 + Below(4);
      if (Below(3) == 0) work.prompt_logprobs = Below(3);
      if (work.prompt_logprobs.has_value() && Below(4) == 0) work.max_new_tokens = 0;
      return work;
    }
    ScoreWork work;
    const std::vector<TokenId> context = Next(1);
    for (int i = 1 + Below(4); i > 0; --i) {
      ScoreWindow& window = work.windows.emplace_back();
      window.tokens = Below(4) == 0 ? Next(1) : context;
      window.first_scored = static_cast<int>(window.tokens.size());
      for (int j = 1 + Below(6); j > 0; --j) window.tokens.push_back(Below(64));
      if (Below(4) == 0) window.prompt_tokens = Below(window.first_scored + 1);
    }
    work.top = Below(3);
    work.trace = trace;
    return work;
  }

  int Below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }

 private:
  std::mt19937& random_;
};

TEST(PrefixCacheTest, RandomRequestsAreToldWhatAColdEngineTells) {
  std::mt19937 random(1);
  Prompts prompts(&random);
  Harness cold({.model = MakeModel(64)});
  uint64_t cached = 0;
  int answered = 0;
  for (const int num_pages : {40, 64, 400}) {
    for (const int rows : {3, 16, 128}) {
      Harness harness({.model = MakeModel(num_pages),
                       .engine = {.max_batch_sequences = 2 + prompts.Below(10),
                                  .max_batch_tokens = rows,
                                  .max_queue = 1000}});
      Resumer resumer(harness.engine.get());
      struct Trial {
        Submitted submitted;
        std::string expected;
        uint64_t rows = 0;
        bool cancelled = false;
      };
      std::vector<Trial> trials;
      for (int i = 0; i < 300; ++i) {
        const auto work = prompts.NextWork();
        const uint32_t k = static_cast<uint32_t>(prompts.Below(3));
        const Reply solo = cold.Run(cold.MakeRequest(work, k));
        const auto sink = std::make_shared<RecordingSink>();
        const int reader = resumer.NewReader();
        if (prompts.Below(8) == 0) sink->flow = PauseNowAndThen(&resumer, reader);
        Request request = harness.MakeRequest(work, k);
        if (prompts.Below(10) > 0) request.cache_scope = prompts.Below(6) == 0 ? "other" : "";
        trials.push_back({harness.Submit(std::move(request), sink), Fingerprint(solo),
                          AllRows(solo), prompts.Below(12) == 0});
        resumer.SetHandle(reader, trials.back().submitted.handle);
        const Trial& any = trials[static_cast<size_t>(prompts.Below(i + 1))];
        if (any.cancelled) harness.engine->Cancel(any.submitted.handle, absl::CancelledError(""));
        if (prompts.Below(5) == 0) trials.back().submitted.sink->AwaitDone();
      }
      for (const Trial& trial : trials) {
        const Reply reply = trial.submitted.sink->AwaitDone();
        if (!reply.completion.status.ok()) {
          ASSERT_TRUE(trial.cancelled) << reply.completion.status;
          continue;
        }
        ++answered;
        cached += CachedTokens(reply);
        ASSERT_EQ(Fingerprint(reply), trial.expected);
        ASSERT_EQ(AllRows(reply), trial.rows);
      }
      EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
    }
  }
  EXPECT_GE(answered, 2000);
  EXPECT_GT(cached, 10'000u);
}

}  // namespace
}  // namespace olmoe::engine
