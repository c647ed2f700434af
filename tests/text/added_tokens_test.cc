#include "server/text/added_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace olmoe::text {
namespace {

using Found = std::vector<std::pair<TokenId, size_t>>;  // id, where it begins

Found FindAll(const AddedTokenMatcher& matcher, std::string_view text) {
  Found found;
  for (size_t from = 0;;) {
    const auto match = matcher.Find(text, from);
    if (!match.has_value()) return found;
    found.emplace_back(match->id, match->begin);
    from = match->end;
  }
}

TEST(AddedTokensTest, NothingAddedMatchesNothing) {
  EXPECT_FALSE(AddedTokenMatcher().Find("any text", 0).has_value());
}

TEST(AddedTokensTest, LeftmostThenLongestWins) {
  AddedTokenMatcher matcher;
  EXPECT_TRUE(matcher.Add("ab", 1));
  EXPECT_TRUE(matcher.Add("abcd", 2));
  EXPECT_TRUE(matcher.Add("bcde", 3));
  EXPECT_EQ(FindAll(matcher, "xabcde"), (Found{{2, 1}}));  // not bcde, which begins later
  EXPECT_EQ(FindAll(matcher, "abcabcd"), (Found{{1, 0}, {2, 3}}));
  EXPECT_EQ(FindAll(matcher, "abc"), (Found{{1, 0}}));  // a longer one fails at the end
  EXPECT_EQ(FindAll(matcher, "bcde"), (Found{{3, 0}}));
}

TEST(AddedTokensTest, RunsAreCutLongestFirst) {
  AddedTokenMatcher matcher;
  for (int length = 2; length <= 24; ++length) matcher.Add(std::string(length, ' '), length);
  EXPECT_EQ(FindAll(matcher, std::string(30, ' ')), (Found{{24, 0}, {6, 24}}));
  EXPECT_EQ(FindAll(matcher, std::string(25, ' ')), (Found{{24, 0}}));
}

TEST(AddedTokensTest, SecondAdditionIsRefused) {
  AddedTokenMatcher matcher;
  EXPECT_TRUE(matcher.Add("ab", 1));
  EXPECT_FALSE(matcher.Add("ab", 2));
  EXPECT_TRUE(matcher.Add("a", 3));
  EXPECT_EQ(FindAll(matcher, "ab"), (Found{{1, 0}}));
}

TEST(AddedTokensTest, AgreesWithTryingEveryTokenEverywhere) {
  std::mt19937 random(1);
  const auto random_text = [&](size_t length) {
    std::string text;
    while (text.size() < length) text += "ab\xC3\xA9"[random() % 4];
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    AddedTokenMatcher matcher;
    std::vector<std::string> tokens;
    for (int i = 0; i < 6; ++i) {
      std::string token = random_text(1 + random() % 6);
      if (matcher.Add(token, static_cast<TokenId>(tokens.size()))) tokens.push_back(token);
    }
    const std::string text = random_text(random() % 60);
    Found expected;
    for (size_t begin = 0; begin < text.size();) {
      int best = -1;
      for (size_t i = 0; i < tokens.size(); ++i) {
        const bool here = text.compare(begin, tokens[i].size(), tokens[i]) == 0;
        if (here && (best < 0 || tokens[i].size() > tokens[best].size())) best = i;
      }
      if (best >= 0) expected.emplace_back(best, begin);
      begin += best >= 0 ? tokens[best].size() : 1;
    }
    EXPECT_EQ(FindAll(matcher, text), expected);
  }
}

}  // namespace
}  // namespace olmoe::text
