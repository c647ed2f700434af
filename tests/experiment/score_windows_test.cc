#include "server/experiment/score_windows.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::experiment {
namespace {

using ::testing::ElementsAre;

constexpr TokenId kPrefix = 1000;

std::vector<TokenId> Sequence(int count) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

using Pair = std::pair<std::vector<TokenId>, std::vector<TokenId>>;  // context, continuation

// tokens[begin:end] of Python.
std::vector<TokenId> Slice(const std::vector<TokenId>& tokens, int begin, int end) {
  return {tokens.begin() + begin, tokens.begin() + end};
}

// lm_eval.utils.get_rolling_token_windows, line by line.
std::vector<Pair> RollingTokenWindows(const std::vector<TokenId>& tokens, TokenId prefix,
                                      int max_seq_len, int context_len) {
  std::vector<Pair> windows;
  const int size = static_cast<int>(tokens.size());
  const int pred_len = max_seq_len - context_len + 1;
  int predicted = 0;
  const int first_seq_len = std::min(max_seq_len, size);
  std::vector<TokenId> first = Slice(tokens, 0, first_seq_len - 1);
  first.insert(first.begin(), prefix);
  windows.emplace_back(first, Slice(tokens, 0, first_seq_len));
  predicted += first_seq_len;
  while (predicted < size) {
    const int window_pred_len = std::min(size - predicted, pred_len);
    const int window_end = predicted + window_pred_len;
    windows.emplace_back(Slice(tokens, window_end - max_seq_len - 1, window_end - 1),
                         Slice(tokens, window_end - window_pred_len, window_end));
    predicted += window_pred_len;
  }
  return windows;
}

// lm_eval.utils.make_disjoint_window.
Pair DisjointWindow(const Pair& pair) {
  const int context_size = static_cast<int>(pair.first.size());
  const int continuation_size = static_cast<int>(pair.second.size());
  return {Slice(pair.first, 0, context_size - (continuation_size - 1)), pair.second};
}

TEST(RollingWindowsTest, EqualLmEvalsForEverySize) {
  for (int max_context = 1; max_context <= 9; ++max_context) {
    for (int size = 1; size <= 40; ++size) {
      const std::vector<TokenId> tokens = Sequence(size);
      const std::vector<Pair> expected = RollingTokenWindows(tokens, kPrefix, max_context, 1);
      const auto windows = MakeRollingWindows(kPrefix, tokens, max_context);
      ASSERT_EQ(windows.size(), expected.size()) << size << " in " << max_context;
      for (size_t i = 0; i < windows.size(); ++i) {
        auto [context, continuation] = DisjointWindow(expected[i]);
        EXPECT_EQ(windows[i].first_scored, static_cast<int>(context.size()));
        context.insert(context.end(), continuation.begin(), continuation.end());
        EXPECT_EQ(windows[i].tokens, context) << size << " in " << max_context;
      }
    }
  }
}

TEST(RollingWindowsTest, ScoreEveryTokenOnceAndFitTheContext) {
  const std::vector<TokenId> tokens = Sequence(23);
  std::vector<TokenId> scored;
  for (const engine::ScoreWindow& window : MakeRollingWindows(kPrefix, tokens, 5)) {
    EXPECT_LE(window.tokens.size(), 6u);
    scored.insert(scored.end(), window.tokens.begin() + window.first_scored, window.tokens.end());
  }
  EXPECT_EQ(scored, tokens);
}

TEST(RollingWindowsTest, ExampleOfTheHeader) {
  const auto windows = MakeRollingWindows(kPrefix, Sequence(6), 4);
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_THAT(windows[0].tokens, ElementsAre(kPrefix, 0, 1, 2, 3));
  EXPECT_EQ(windows[0].first_scored, 1);
  EXPECT_THAT(windows[1].tokens, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(windows[1].first_scored, 3);
  // The prefix is the prompt; what a later window repeats is text.
  EXPECT_EQ(windows[0].prompt_tokens.value_or(windows[0].first_scored), 1);
  EXPECT_EQ(windows[1].prompt_tokens, 0);
}

TEST(PairWindowTest, KeepsAContextThatFits) {
  const PairWindow pair = MakePairWindow(Sequence(3), std::vector<TokenId>{7, 8}, 4);
  EXPECT_THAT(pair.window.tokens, ElementsAre(0, 1, 2, 7, 8));
  EXPECT_EQ(pair.window.first_scored, 3);
  EXPECT_EQ(pair.context_tokens_dropped, 0);
}

TEST(PairWindowTest, CutsTheContextOnTheLeftToOneMoreThanTheContextLength) {
  const PairWindow pair = MakePairWindow(Sequence(10), std::vector<TokenId>{7, 8}, 4);
  EXPECT_THAT(pair.window.tokens, ElementsAre(7, 8, 9, 7, 8));
  EXPECT_EQ(pair.window.first_scored, 3);
  EXPECT_EQ(pair.context_tokens_dropped, 7);
}

TEST(PairWindowTest, LongestContinuationKeepsOneContextToken) {
  const PairWindow pair = MakePairWindow(Sequence(3), Sequence(4), 4);
  EXPECT_THAT(pair.window.tokens, ElementsAre(2, 0, 1, 2, 3));
  EXPECT_EQ(pair.window.first_scored, 1);
  EXPECT_EQ(pair.context_tokens_dropped, 2);
}

TEST(TrailingWhitespaceTest, CountsBytesAsPythonsRstripTakesThem) {
  EXPECT_EQ(TrailingWhitespaceBytes(""), 0u);
  EXPECT_EQ(TrailingWhitespaceBytes("a"), 0u);
  EXPECT_EQ(TrailingWhitespaceBytes("a b"), 0u);
  EXPECT_EQ(TrailingWhitespaceBytes("a \t\n"), 3u);
  EXPECT_EQ(TrailingWhitespaceBytes("  "), 2u);
  EXPECT_EQ(TrailingWhitespaceBytes("a\x1c"), 1u);          // an information separator
  EXPECT_EQ(TrailingWhitespaceBytes("a\xC2\xA0"), 2u);      // no-break space
  EXPECT_EQ(TrailingWhitespaceBytes("a\xE3\x80\x80 "), 4u);  // ideographic space
  EXPECT_EQ(TrailingWhitespaceBytes("a\xE2\x80\x8B"), 0u);  // zero-width space is none
  EXPECT_EQ(TrailingWhitespaceBytes("\xC3\xA9"), 0u);
  EXPECT_EQ(TrailingWhitespaceBytes("\xF0\x90\x80\xA0"), 0u);  // 4 bytes: none is white space
}

}  // namespace
}  // namespace olmoe::experiment
