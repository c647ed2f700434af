// What a completion delivers.
#include <gtest/gtest.h>

#include <set>

#include "tests/engine/harness.h"
#include "tests/engine/tiny_tokenizer.h"

namespace olmoe::engine {
namespace {

// A scripted reply: `tokens` from position `first` on.
std::map<int, TokenId> Script(int first, const std::vector<TokenId>& tokens) {
  std::map<int, TokenId> script;
  for (TokenId token : tokens) script[first++] = token;
  return script;
}

TEST(GenerateTest, GivesOutEveryTokenUpToTheLength) {
  Harness harness;
  const Reply reply = harness.Run(harness.Generate({5, 6, 7}, 9));
  EXPECT_TRUE(reply.completion.status.ok());
  EXPECT_EQ(reply.completion.choices.at(0).finish_reason, FinishReason::kLength);
  EXPECT_EQ(reply.tokens.size(), 9u);
  EXPECT_EQ(reply.completion.prompt_tokens, 3u);
  EXPECT_EQ(reply.completion.completion_tokens, 9u);
  EXPECT_EQ(reply.text, "") << "there is no tokenizer";
  EXPECT_EQ(harness.model.counters().rows, 3 + 8) << "the last token is never computed";
}

TEST(GenerateTest, OneTokenNeedsOneStep) {
  Harness harness;
  EXPECT_EQ(harness.Run(harness.Generate({5, 6, 7}, 1)).tokens.size(), 1u);
  EXPECT_EQ(harness.model.counters().steps, 1);
}

TEST(GenerateTest, ReplyDependsOnPromptAndPolicy) {
  Harness harness;
  std::set<std::vector<TokenId>> replies;
  for (uint32_t k : {0, 1, 3}) {
    for (TokenId first : {5, 6}) {
      replies.insert(harness.Run(harness.Generate({first, 7}, 8, k)).token_ids());
    }
  }
  EXPECT_EQ(replies.size(), 6u);
}

TEST(GenerateTest, TextIsTheDetokenizedReply) {
  const auto tokenizer = MakeTinyTokenizer();
  const std::vector<TokenId> tokens = {'x', kTokenAbc, 0xC3, 0xA9, kTokenBlankLine, kTokenEnd};
  Harness harness({.model = {.vocab_size = kTinyVocabSize,
                             .eos_token_id = kTokenEnd,
                             .script = Script(2, tokens)},
                   .tokenizer = tokenizer.get()});
  const Reply reply = harness.Run(harness.Generate({1, 2}, 100));
  EXPECT_EQ(reply.completion.choices.at(0).finish_reason, FinishReason::kEos);
  EXPECT_EQ(reply.text, "xabcé\n\n");
  EXPECT_EQ(reply.token_ids(), tokens) << "the token that ends the text is one of the tokens";
}

TEST(GenerateTest, StopStringAcrossTokenBoundaryIsCutAndReported) {
  const auto tokenizer = MakeTinyTokenizer();
  Harness harness(
      {.model = {.vocab_size = kTinyVocabSize, .script = Script(2, {'x', kTokenAb, 'c', 'd'})},
       .tokenizer = tokenizer.get()});
  Request request = harness.Generate({1, 2}, 100);
  std::get<GenerateWork>(request.work).stop = {"nothing", "bc"};
  const Reply reply = harness.Run(std::move(request));
  EXPECT_EQ(reply.completion.choices.at(0).finish_reason, FinishReason::kStopString);
  EXPECT_EQ(reply.completion.choices.at(0).matched_stop, "bc");
  EXPECT_EQ(reply.text, "xa");
  EXPECT_EQ(reply.tokens.size(), 3u);
}

TEST(GenerateTest, HeldBackTextIsFlushedAtTheEnd) {
  const auto tokenizer = MakeTinyTokenizer();
  Harness harness(
      {.model = {.vocab_size = kTinyVocabSize, .script = Script(1, {'a', 'b', 'c', kTokenEnd})},
       .tokenizer = tokenizer.get()});
  Request request = harness.Generate({1}, 100);
  std::get<GenerateWork>(request.work).stop = {"abcd"};
  std::get<GenerateWork>(request.work).stop_token_ids = {kTokenEnd};
  const auto sink = std::make_shared<RecordingSink>();
  std::string before_last;
  sink->flow = [&](const Reply& so_far) {
    if (so_far.tokens.size() == 3) before_last = so_far.text;
    return Flow::kContinue;
  };
  const Reply reply = harness.Submit(std::move(request), sink).sink->AwaitDone();
  EXPECT_EQ(before_last, "");
  EXPECT_EQ(reply.text, "abc");
  EXPECT_EQ(reply.completion.choices.at(0).finish_reason, FinishReason::kStopToken);
}

TEST(GenerateTest, LogprobsAndAlternativesComeOnlyWhenAskedFor) {
  Harness harness;
  EXPECT_FALSE(harness.Run(harness.Generate({5}, 3)).tokens[0].logprob.has_value());
  Request request = harness.Generate({5}, 3);
  std::get<GenerateWork>(request.work).logprobs = true;
  std::get<GenerateWork>(request.work).top_logprobs = 4;
  for (const GeneratedToken& token : harness.Run(std::move(request)).tokens) {
    ASSERT_EQ(token.top.size(), 4u);
    EXPECT_EQ(token.top[0].token, token.token) << "greedy takes the first";
    EXPECT_EQ(token.top[0].logprob, token.logprob);
  }
}

TEST(GenerateTest, CompletionsOfOnePromptAreThoseOfTheirSeeds) {
  Harness harness({.model = {.eos_token_id = 3}});
  const auto make = [&](uint64_t seed, int num_choices) {
    Request request = harness.Generate(Range(5, 11), 30);
    auto& work = std::get<GenerateWork>(request.work);
    work.sampling = {.temperature = 1, .seed = seed};
    work.num_choices = num_choices;
    return harness.Run(std::move(request));
  };
  const Reply all = make(70, 5);
  ASSERT_EQ(all.completion.choices.size(), 5u);
  uint32_t tokens = 0;
  std::set<std::vector<TokenId>> different;
  for (int i = 0; i < 5; ++i) {
    const Reply alone = make(70 + static_cast<uint64_t>(i), 1);
    const Choice& choice = i == 0 ? all : all.others.at(i);
    EXPECT_EQ(choice.token_ids(), alone.token_ids()) << i;
    EXPECT_TRUE(choice.ended);
    const ChoiceEnd& end = all.completion.choices[static_cast<size_t>(i)];
    EXPECT_EQ(end.finish_reason, alone.completion.choices[0].finish_reason);
    EXPECT_EQ(end.completion_tokens, alone.completion.completion_tokens);
    tokens += end.completion_tokens;
    different.insert(choice.token_ids());
  }
  EXPECT_EQ(all.completion.completion_tokens, tokens);
  EXPECT_EQ(different.size(), 5u);
}

TEST(GenerateTest, TracesOfCompletionsBehindTheFirstBeginAtTheEndOfThePrompt) {
  Harness harness;
  Request request = harness.Generate(Range(5, 11), 4);
  auto& work = std::get<GenerateWork>(request.work);
  work.num_choices = 2;
  work.trace = {.experts = true, .weights = true, .logits = true};
  const Reply reply = harness.Run(std::move(request));
  EXPECT_EQ(reply.trace.first_position, 0);
  EXPECT_EQ(reply.trace.num_positions, 14);
  EXPECT_EQ(reply.others.at(1).trace.first_position, 11);
  EXPECT_EQ(reply.others.at(1).trace.num_positions, 3);
}

TEST(GenerateTest, ScoresOfThePromptAreThoseOfAScoreRequest) {
  Harness harness({.engine = {.max_batch_tokens = 4}});
  for (const int max_new_tokens : {0, 1, 3}) {
    Request request = harness.Generate(Range(5, 11), max_new_tokens + (max_new_tokens == 0));
    auto& work = std::get<GenerateWork>(request.work);
    work.max_new_tokens = max_new_tokens;
    work.prompt_logprobs = 2;
    const Reply reply = harness.Run(std::move(request));
    EXPECT_EQ(reply.tokens.size(), static_cast<size_t>(max_new_tokens));
    EXPECT_TRUE(reply.ended);
    Request scores = harness.Score({{.tokens = Range(5, 11), .first_scored = 1}});
    std::get<ScoreWork>(scores.work).top = 2;
    const auto expected = harness.Run(std::move(scores)).windows.at(0).tokens;
    ASSERT_EQ(reply.prompt_tokens.size(), 10u);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(reply.prompt_tokens[i].token, expected[i].token);
      EXPECT_EQ(reply.prompt_tokens[i].logprob, expected[i].logprob);
      EXPECT_EQ(reply.prompt_tokens[i].rank, expected[i].rank);
      ASSERT_EQ(reply.prompt_tokens[i].top.size(), 2u);
      EXPECT_EQ(reply.prompt_tokens[i].top[1].token, expected[i].top[1].token);
    }
  }
}

TEST(GenerateTest, AMatchedStopIsPartOfTheTextWhereItIsWanted) {
  const auto tokenizer = MakeTinyTokenizer();
  struct How {
    std::vector<std::string> stop = {};
    std::vector<TokenId> stop_token_ids = {};
    bool include_stop = false;
    bool skip_special_tokens = true;
  };
  const auto text = [&](std::vector<TokenId> tokens, How how) {
    Harness harness({.model = {.vocab_size = kTinyVocabSize,
                               .eos_token_id = kTokenEnd,
                               .script = Script(2, tokens)},
                     .tokenizer = tokenizer.get()});
    Request request = harness.Generate({1, 2}, 100);
    auto& work = std::get<GenerateWork>(request.work);
    work.stop = how.stop;
    work.stop_token_ids = how.stop_token_ids;
    work.include_stop = how.include_stop;
    work.skip_special_tokens = how.skip_special_tokens;
    return harness.Run(std::move(request)).text;
  };
  const std::string end(tokenizer->TokenBytes(kTokenEnd));
  EXPECT_EQ(text({'x', kTokenAb, 'c', 'd'}, {.stop = {"bc"}, .include_stop = true}), "xabc");
  EXPECT_EQ(text({'x', 'y'}, {.stop_token_ids = {'y'}}), "x");
  EXPECT_EQ(text({'x', 'y'}, {.stop_token_ids = {'y'}, .include_stop = true}), "xy");
  EXPECT_EQ(text({'x', kTokenEnd}, {.skip_special_tokens = false}), "x");
  EXPECT_EQ(text({'x', kTokenEnd}, {.include_stop = true}), "x") << "it is special";
  EXPECT_EQ(text({'x', kTokenEnd}, {.include_stop = true, .skip_special_tokens = false}),
            "x" + end);
}

TEST(GenerateTest, TraceCoversEveryComputedPosition) {
  Harness harness;
  Request request = harness.Generate({5, 6, 7}, 6, /*k=*/3);
  std::get<GenerateWork>(request.work).trace = {.experts = true, .weights = true, .logits = true};
  const Reply reply = harness.Run(std::move(request));
  const int layers = harness.model.info().num_layers;
  EXPECT_EQ(reply.trace.first_position, 0);
  EXPECT_EQ(reply.trace.num_positions, 3 + 5);
  EXPECT_EQ(reply.trace.num_layers, layers);
  EXPECT_EQ(reply.trace.counts, std::vector<uint8_t>(8 * layers, 3));
  EXPECT_EQ(reply.trace.experts.size(), 8u * layers * 3);
  EXPECT_EQ(reply.trace.weights.size(), reply.trace.experts.size());
  EXPECT_EQ(reply.completion.expert_activations, reply.trace.experts.size());
  // The first expert of each decision is the arg-max of the logits of the same place.
  const int experts = harness.model.info().num_experts;
  ASSERT_EQ(reply.trace.logits.size(), 8u * layers * experts);
  for (int i = 0; i < 8 * layers; ++i) {
    const auto logits = reply.trace.logits.begin() + i * experts;
    EXPECT_EQ(std::max_element(logits, logits + experts) - logits, reply.trace.experts[i * 3]);
  }
}

TEST(GenerateTest, ChunkedPrefillEqualsWholePrefill) {
  std::set<std::string> replies;
  for (int max_batch_tokens : {1, 2, 3, 7, 50, 512}) {
    Harness harness({.engine = {.max_batch_sequences = 1, .max_batch_tokens = max_batch_tokens}});
    Request request = harness.Generate(Range(1, 50), 5, /*k=*/3);
    std::get<GenerateWork>(request.work).trace = {.experts = true, .weights = true, .logits = true};
    replies.insert(Fingerprint(harness.Run(std::move(request))));
    EXPECT_EQ(harness.model.counters().steps, (50 + max_batch_tokens - 1) / max_batch_tokens + 4);
    EXPECT_LE(harness.model.counters().max_rows, max_batch_tokens);
  }
  EXPECT_EQ(replies.size(), 1u);
}

TEST(GenerateTest, WholeContextCanBeUsed) {
  Harness harness({.model = {.max_context = 64, .page_tokens = 4, .num_pages = 16}});
  EXPECT_EQ(harness.Run(harness.Generate(Range(0, 63), 1)).tokens.size(), 1u);
  EXPECT_EQ(harness.Run(harness.Generate({1}, 63)).tokens.size(), 63u);
}

TEST(GenerateTest, TimingCoversTheStages) {
  Harness harness({.engine = {.max_batch_sequences = 1, .max_batch_tokens = 4}});
  harness.model.Hold();
  const auto submitted = harness.Submit(harness.Generate(Range(1, 6), 3));
  harness.model.AwaitStepBegun(1);
  const auto waiting = harness.Submit(harness.Generate({1}, 1));
  for (int step = 1; step <= 4; ++step) {  // two of prefill, two of decode
    harness.model.AwaitStepBegun(step);
    harness.clock.Advance(absl::Seconds(step));
    harness.model.Allow(1);
  }
  const RequestTiming timing = submitted.sink->AwaitDone().completion.timing;
  EXPECT_EQ(timing.queue, absl::ZeroDuration());
  EXPECT_EQ(timing.prefill, absl::Seconds(1 + 2));
  EXPECT_EQ(timing.time_to_first_token, absl::Seconds(3));
  EXPECT_EQ(timing.decode, absl::Seconds(3 + 4));
  EXPECT_EQ(timing.total, absl::Seconds(10));
  harness.model.Unhold();
  EXPECT_EQ(waiting.sink->AwaitDone().completion.timing.queue, absl::Seconds(10));
}

}  // namespace
}  // namespace olmoe::engine
