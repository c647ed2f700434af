#include "server/engine/stop_condition.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/engine/tiny_tokenizer.h"

namespace olmoe::engine {
namespace {

// What the tokens of a completion came to.
struct Result {
  std::string text;
  std::vector<std::string> pieces;
  std::optional<FinishReason> finish;
  std::string matched_stop;
  size_t num_tokens = 0;
};

class StopConditionTest : public ::testing::Test {
 protected:
  Result Run(const GenerateWork& work, const std::vector<TokenId>& tokens,
             const std::vector<int64_t>& end = {kTokenEnd}) {
    StopCondition condition(work, end, tokenizer_.get());
    Result result;
    for (TokenId token : tokens) {
      StopCondition::Outcome outcome = condition.Add(token);
      ++result.num_tokens;
      result.text += outcome.text;
      result.pieces.push_back(outcome.text);
      result.finish = outcome.finish;
      result.matched_stop = outcome.matched_stop;
      if (outcome.finish.has_value()) break;
    }
    return result;
  }

  static GenerateWork Work(std::vector<std::string> stop, int max_new_tokens = 1000) {
    GenerateWork work;
    work.stop = std::move(stop);
    work.max_new_tokens = max_new_tokens;
    return work;
  }

  const std::unique_ptr<text::Tokenizer> tokenizer_ = MakeTinyTokenizer();
};

TEST_F(StopConditionTest, LengthEndsTheCompletionWithItsLastTokensText) {
  const Result result = Run(Work({}, 3), Bytes("hello"));
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.text, "hel");
}

TEST_F(StopConditionTest, EosEndsTheTextAndAddsNothing) {
  const Result result = Run(Work({}), {'h', 'i', kTokenEnd, '!'});
  EXPECT_EQ(result.finish, FinishReason::kEos);
  EXPECT_EQ(result.text, "hi");
  EXPECT_EQ(result.num_tokens, 3u);
}

TEST_F(StopConditionTest, EosAddsNothingEvenIfItIsAnOrdinaryToken) {
  EXPECT_EQ(Run(Work({}), Bytes("hi!"), {'!'}).text, "hi");
}

TEST_F(StopConditionTest, EveryEndTokenEnds) {
  const std::vector<int64_t> end = {kTokenEnd, '!', '?'};
  for (const TokenId token : {TokenId{'!'}, TokenId{'?'}, TokenId{kTokenEnd}}) {
    const Result result = Run(Work({}), {'h', 'i', token, 'x'}, end);
    EXPECT_EQ(result.finish, FinishReason::kEos);
    EXPECT_EQ(result.text, "hi");
  }
  GenerateWork work = Work({}, 4);
  work.ignore_eos = true;
  EXPECT_EQ(Run(work, {'h', '!', '?', kTokenEnd}, end).text, "h!?");
}

TEST_F(StopConditionTest, ASpecialTokenMayBeAStopStringOrAPartOfOne) {
  const std::string special(tokenizer_->TokenBytes(kTokenEnd));
  GenerateWork work = Work({special});
  work.ignore_eos = true;
  const Result whole = Run(work, {'h', 'i', kTokenEnd, '!'});
  EXPECT_EQ(whole.finish, FinishReason::kStopString);
  EXPECT_EQ(whole.matched_stop, special);
  EXPECT_EQ(whole.text, "hi");
  work.stop = {"i" + special + special + "!"};
  const Result part = Run(work, {'h', 'i', kTokenEnd, kTokenEnd, '!', 'x'});
  EXPECT_EQ(part.matched_stop, work.stop[0]);
  EXPECT_EQ(part.text, "h");
  // It may begin there and go on in another way: then only its own text is left out.
  const Result other = Run(work, {'h', 'i', kTokenEnd, '!', 'x'});
  EXPECT_EQ(other.pieces, (std::vector<std::string>{"h", "", "", "i!", "x"}));
}

TEST_F(StopConditionTest, ASpecialTokenInsideAStopStringDoesNotHideIt) {
  GenerateWork work = Work({"hi"});
  work.ignore_eos = true;
  const Result result = Run(work, {'o', 'h', kTokenEnd, kTokenEnd, 'i'});
  EXPECT_EQ(result.matched_stop, "hi");
  EXPECT_EQ(result.text, "o");
}

TEST_F(StopConditionTest, AStopStringCountsBeforeTheEndThatItsTokenIs) {
  const std::string special(tokenizer_->TokenBytes(kTokenEnd));
  const Result result = Run(Work({special}), {'h', 'i', kTokenEnd});
  EXPECT_EQ(result.finish, FinishReason::kStopString);
  EXPECT_EQ(result.matched_stop, special);
}

TEST_F(StopConditionTest, IgnoredEosGoesOnWithoutText) {
  GenerateWork work = Work({}, 4);
  work.ignore_eos = true;
  const Result result = Run(work, {'h', kTokenEnd, 'i', '!'});
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.text, "hi!");
}

TEST_F(StopConditionTest, StopTokenEndsTheTextAndAddsNothing) {
  GenerateWork work = Work({});
  work.stop_token_ids = {'x', kTokenAbc};
  const Result result = Run(work, {'a', 'b', kTokenAbc, 'z'});
  EXPECT_EQ(result.finish, FinishReason::kStopToken);
  EXPECT_EQ(result.text, "ab");
}

TEST_F(StopConditionTest, EosOnTheLastAllowedTokenIsEos) {
  EXPECT_EQ(Run(Work({}, 2), {'a', kTokenEnd}).finish, FinishReason::kEos);
}

TEST_F(StopConditionTest, StopStringAcrossTokenBoundaryIsCutAndReported) {
  const Result result = Run(Work({"cab"}), {'x', kTokenAbc, kTokenAb, 'y'});
  EXPECT_EQ(result.finish, FinishReason::kStopString);
  EXPECT_EQ(result.text, "xab");
  EXPECT_EQ(result.matched_stop, "cab");
  EXPECT_EQ(result.num_tokens, 3u);
}

TEST_F(StopConditionTest, StopStringOnTheLastAllowedTokenIsStopString) {
  const Result result = Run(Work({"b"}, 2), Bytes("ab"));
  EXPECT_EQ(result.finish, FinishReason::kStopString);
  EXPECT_EQ(result.text, "a");
}

TEST_F(StopConditionTest, TextThatMayBeginAStopStringIsHeldBackUntilDecided) {
  const Result result = Run(Work({"\n\nQ:"}, 6), Bytes("a\n\nQ.b"));
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"a", "", "", "", "\n\nQ.", "b"}));
}

TEST_F(StopConditionTest, HeldBackTextIsFlushedAtTheEnd) {
  EXPECT_EQ(Run(Work({"abcd"}, 3), Bytes("abc")).text, "abc");
  EXPECT_EQ(Run(Work({"abcd"}), {'a', 'b', kTokenEnd}).text, "ab");
}

TEST_F(StopConditionTest, CharacterIsGivenOutWhole) {
  const Result result = Run(Work({}), {0xC3, 0xA9, 0xF0, 0x9F, 0x98, 0x80, kTokenEnd});
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"", "é", "", "", "", "😀", ""}));
}

TEST_F(StopConditionTest, UnfinishedCharacterAtTheEndIsReplaced) {
  EXPECT_EQ(Run(Work({}), {'a', 0xC3, kTokenEnd}).text, "a\uFFFD");
  EXPECT_EQ(Run(Work({}, 2), {'a', 0xC3}).text, "a\uFFFD");
}

TEST_F(StopConditionTest, StopStringOfMultiByteCharactersIsFound) {
  const Result result = Run(Work({"éé"}), {'x', 0xC3, 0xA9, 0xC3, 0xA8, 0xC3, 0xA9, 0xC3, 0xA9});
  EXPECT_EQ(result.text, "xéè");
  EXPECT_EQ(result.matched_stop, "éé");
}

TEST_F(StopConditionTest, FirstMatchWinsAndOfThoseThatBeginTogetherTheLongest) {
  const Result first = Run(Work({"cd", "bcd"}), {'a', kTokenAbc, 'd'});
  EXPECT_EQ(first.text, "aa");
  EXPECT_EQ(first.matched_stop, "bcd");
  const Result longest = Run(Work({"ab", "abc", "b"}), {'x', kTokenAbc});
  EXPECT_EQ(longest.text, "x");
  EXPECT_EQ(longest.matched_stop, "abc");
}

TEST_F(StopConditionTest, WithoutATokenizerThereIsNoText) {
  GenerateWork work = Work({}, 3);
  work.stop_token_ids = {7};
  StopCondition condition(work, {}, nullptr);
  EXPECT_EQ(condition.Add('a').text, "");
  EXPECT_EQ(condition.Add(7).finish, FinishReason::kStopToken);
}

// The slow, obvious reading of the contract: after every token, look for every stop string in all
// text.
Result Reference(const GenerateWork& work, const std::vector<TokenId>& tokens,
                 const text::Tokenizer* tokenizer) {
  text::StreamingDetokenizer detokenizer(tokenizer, true);
  Result result;
  std::string text;
  for (TokenId token : tokens) {
    ++result.num_tokens;
    if (token == kTokenEnd) result.finish = FinishReason::kEos;
    if (token != kTokenEnd) text += detokenizer.Add(token);
    if (!result.finish && static_cast<int>(result.num_tokens) == work.max_new_tokens) {
      result.finish = FinishReason::kLength;
    }
    if (result.finish) text += detokenizer.Flush();
    size_t first = std::string::npos;
    for (const std::string& stop : work.stop) {
      const size_t found = text.find(stop);
      if (found == std::string::npos || found > first) continue;
      if (found == first && stop.size() <= result.matched_stop.size()) continue;
      first = found;
      result.matched_stop = stop;
    }
    if (first != std::string::npos) {
      result.finish = FinishReason::kStopString;
      text.resize(first);
    }
    if (result.finish) break;
  }
  result.text = text;
  return result;
}

// Bytes at the end of `text` that are a proper prefix of a stop string.
size_t MayBecomeStop(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t bytes = text.size(); bytes > 0; --bytes) {
    for (const std::string& stop : stops) {
      if (bytes < stop.size() && text.ends_with(stop.substr(0, bytes))) return bytes;
    }
  }
  return 0;
}

TEST_F(StopConditionTest, EqualsSearchingTheWholeTextAfterEveryToken) {
  std::mt19937 random(1);
  const std::vector<TokenId> alphabet = {'a', 'a', 'b', 'b', 'c', kTokenAb, kTokenAbc, 0xC3, 0xA9};
  const std::vector<std::string> characters = {"a", "b", "c", "é", "\uFFFD"};
  int matches = 0;
  for (int trial = 0; trial < 50'000; ++trial) {
    GenerateWork work = Work({}, 1 + static_cast<int>(random() % 30));
    for (size_t i = random() % 4; i > 0; --i) {
      std::string stop;
      for (size_t j = 1 + random() % 6; j > 0; --j) {
        stop += characters[random() % characters.size()];
      }
      work.stop.push_back(stop);
    }
    std::vector<TokenId> tokens(30);
    for (TokenId& token : tokens) {
      token = random() % 60 == 0 ? kTokenEnd : alphabet[random() % alphabet.size()];
    }
    const Result actual = Run(work, tokens);
    const Result expected = Reference(work, tokens, tokenizer_.get());
    ASSERT_EQ(actual.text, expected.text) << absl::StrJoin(work.stop, "|");
    ASSERT_EQ(actual.finish, expected.finish) << absl::StrJoin(work.stop, "|");
    ASSERT_EQ(actual.matched_stop, expected.matched_stop);
    ASSERT_EQ(actual.num_tokens, expected.num_tokens);
    matches += actual.finish == FinishReason::kStopString;
  }
  EXPECT_GT(matches, 5'000);
}

TEST_F(StopConditionTest, NoMoreTextIsHeldBackThanMayBecomeAStopString) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 2'000; ++trial) {
    const std::vector<std::string> stops = {"aab", "abab", "cc"};
    StopStringMatcher matcher(stops);
    std::string all, given;
    while (all.size() < 60) {
      const std::string piece(1 + random() % 3, static_cast<char>('a' + random() % 3));
      all += piece;
      given += matcher.Push(piece);
      if (matcher.matched() != nullptr) break;
      ASSERT_EQ(all.size() - given.size(), MayBecomeStop(all, stops)) << all;
    }
    ASSERT_TRUE(all.starts_with(given));
  }
}

// The same by looking at all pieces so far after each: with the hidden ones and without.
TEST_F(StopConditionTest, HiddenPiecesEqualSearchingBothWholeTexts) {
  std::mt19937 random(3);
  int matches = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    std::vector<std::string> stops;
    for (size_t i = 1 + random() % 3; i > 0; --i) {
      std::string stop;
      for (size_t j = 1 + random() % 6; j > 0; --j) stop += "aab<>"[random() % 5];
      stops.push_back(stop);
    }
    StopStringMatcher matcher(stops);
    std::string all, shown, given;
    std::vector<size_t> at;  // of each byte of `shown` in `all`
    for (int piece = 0; piece < 40 && matcher.matched() == nullptr; ++piece) {
      const bool hidden = random() % 3 == 0;
      const std::string text = hidden ? "<>" : std::string(1, "ab"[random() % 2]);
      if (!hidden) {
        at.push_back(all.size());
        shown += text;
      }
      all += text;
      given += matcher.Push(text, hidden);
      size_t first = std::string::npos;
      std::string longest;
      for (const std::string& stop : stops) {
        size_t found = all.find(stop);
        if (const size_t seen = shown.find(stop); seen != shown.npos) {
          found = std::min(found, at[seen]);
        }
        if (found == std::string::npos || found > first) continue;
        if (found == first && stop.size() <= longest.size()) continue;
        first = found;
        longest = stop;
      }
      ASSERT_EQ(matcher.matched() != nullptr, first != std::string::npos)
          << absl::StrJoin(stops, "|") << " in " << all;
      if (matcher.matched() == nullptr) {
        ASSERT_TRUE(shown.starts_with(given));
        continue;
      }
      ASSERT_EQ(*matcher.matched(), longest);
      const size_t before =
          static_cast<size_t>(std::lower_bound(at.begin(), at.end(), first) - at.begin());
      ASSERT_EQ(given, shown.substr(0, before)) << absl::StrJoin(stops, "|") << " in " << all;
      ++matches;
    }
    if (matcher.matched() == nullptr) {
      ASSERT_EQ(given + matcher.Flush(), shown);
    }
  }
  EXPECT_GT(matches, 5'000);
}

}  // namespace
}  // namespace olmoe::engine
