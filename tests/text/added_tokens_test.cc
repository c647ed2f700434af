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
    found.emplace_back(match->token->id, match->begin);
    from = match->end;
  }
}

TEST(AddedTokensTest, NothingAddedMatchesNothing) {
  EXPECT_FALSE(AddedTokenMatcher().Find("any text", 0).has_value());
}

TEST(AddedTokensTest, LeftmostThenLongestWins) {
  AddedTokenMatcher matcher;
  EXPECT_TRUE(matcher.Add("ab", {.id = 1}));
  EXPECT_TRUE(matcher.Add("abcd", {.id = 2}));
  EXPECT_TRUE(matcher.Add("bcde", {.id = 3}));
  EXPECT_EQ(FindAll(matcher, "xabcde"), (Found{{2, 1}}));  // not bcde, which begins later
  EXPECT_EQ(FindAll(matcher, "abcabcd"), (Found{{1, 0}, {2, 3}}));
  EXPECT_EQ(FindAll(matcher, "abc"), (Found{{1, 0}}));  // a longer one fails at the end
  EXPECT_EQ(FindAll(matcher, "bcde"), (Found{{3, 0}}));
}

TEST(AddedTokensTest, RunsAreCutLongestFirst) {
  AddedTokenMatcher matcher;
  for (int length = 2; length <= 24; ++length)
    matcher.Add(std::string(length, ' '), {.id = length});
  EXPECT_EQ(FindAll(matcher, std::string(30, ' ')), (Found{{24, 0}, {6, 24}}));
  EXPECT_EQ(FindAll(matcher, std::string(25, ' ')), (Found{{24, 0}}));
}

TEST(AddedTokensTest, SecondAdditionIsRefused) {
  AddedTokenMatcher matcher;
  EXPECT_TRUE(matcher.Add("ab", {.id = 1}));
  EXPECT_FALSE(matcher.Add("ab", {.id = 2}));
  EXPECT_TRUE(matcher.Add("a", {.id = 3}));
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
      if (matcher.Add(token, {.id = static_cast<TokenId>(tokens.size())})) tokens.push_back(token);
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

// "[id:text]" for a token, "text" for another piece, in order.
std::string Split(const AddedTokenMatcher& matcher, std::string_view text) {
  AddedTokenSplitter splitter(&matcher, text);
  std::string pieces;
  while (const auto piece = splitter.Next()) {
    const std::string part(text.substr(piece->begin, piece->end - piece->begin));
    if (!pieces.empty()) pieces += "|";
    pieces += piece->token ? "[" + std::to_string(*piece->token) + ":" + part + "]" : part;
  }
  return pieces;
}

TEST(AddedTokenSplitterTest, PiecesCoverTheText) {
  AddedTokenMatcher matcher;
  EXPECT_EQ(Split(matcher, "text"), "text");
  EXPECT_EQ(Split(matcher, ""), "");
  matcher.Add("<s>", {.id = 1});
  EXPECT_EQ(Split(matcher, "<s><s>a <s> b"), "[1:<s>]|[1:<s>]|a |[1:<s>]| b");
}

TEST(AddedTokenSplitterTest, WhiteSpaceGoesAlongWhereTheTokenSaysSo) {
  AddedTokenMatcher matcher;
  matcher.Add("<l>", {.id = 1, .lstrip = true});
  matcher.Add("<r>", {.id = 2, .rstrip = true});
  EXPECT_EQ(Split(matcher, "a \u3000<l> b"), "a|[1: \u3000<l>]| b");
  EXPECT_EQ(Split(matcher, "a <r>\t\n b"), "a |[2:<r>\t\n ]|b");
  // What the first took along the second does not have.
  EXPECT_EQ(Split(matcher, "<r>  <l>"), "[2:<r>  ]|[1:<l>]");
  EXPECT_EQ(Split(matcher, "  <l>  <l>  "), "[1:  <l>]|[1:  <l>]|  ");
}

TEST(AddedTokenSplitterTest, ASingleWordHasNoWordCharacterBesideIt) {
  AddedTokenMatcher matcher;
  matcher.Add("tok", {.id = 1, .single_word = true});
  EXPECT_EQ(Split(matcher, "tok tok. (tok)"), "[1:tok]| |[1:tok]|. (|[1:tok]|)");
  EXPECT_EQ(Split(matcher, "token _tok tok\u0301 \u4e2dtok"), "token _tok tok\u0301 \u4e2dtok");
}

// The reference looks for the next token behind the match, not behind what the token took along.
TEST(AddedTokenSplitterTest, ATokenInsideWhatAnotherTookAlongIsAPieceToo) {
  AddedTokenMatcher matcher;
  matcher.Add("<r>", {.id = 1, .rstrip = true});
  matcher.Add("  ", {.id = 2});
  EXPECT_EQ(Split(matcher, "<r>   a"), "[1:<r>   ]|[2:  ]| a");
  // With lstrip it has only what is left of itself.
  AddedTokenMatcher stripping;
  stripping.Add(" <b>", {.id = 3, .lstrip = true, .rstrip = true});
  EXPECT_EQ(Split(stripping, " <b> <b> c"), "[3: <b> ]|[3:<b> ]|c");
}

}  // namespace
}  // namespace olmoe::text
