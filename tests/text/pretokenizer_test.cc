#include "server/text/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unicode/regex.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace olmoe::text {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = WordEnd(text, begin);
    words.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

TEST(PretokenizerTest, OneSpaceBelongsToTheWord) {
  EXPECT_THAT(Words("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(Words("a 1 + b"), ElementsAre("a", " 1", " +", " b"));
  EXPECT_THAT(Words("a1b"), ElementsAre("a", "1", "b"));
}

TEST(PretokenizerTest, ContractionsAreWordsInLowerCaseOnly) {
  EXPECT_THAT(Words("it's we'll I'M"), ElementsAre("it", "'s", " we", "'ll", " I", "'", "M"));
  EXPECT_THAT(Words("'slow"), ElementsAre("'s", "low"));
  EXPECT_THAT(Words("''s"), ElementsAre("''", "s"));
  EXPECT_THAT(Words(" 's"), ElementsAre(" '", "s"));
  EXPECT_THAT(Words("'r 'v 'l '"), ElementsAre("'", "r", " '", "v", " '", "l", " '"));
  EXPECT_THAT(Words("'re've'm'd't"), ElementsAre("'re", "'ve", "'m", "'d", "'t"));
}

TEST(PretokenizerTest, WhiteSpaceGivesUpItsLastCharacterUnlessTheTextEnds) {
  EXPECT_THAT(Words("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Words("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(Words("a\n b"), ElementsAre("a", "\n", " b"));
  EXPECT_THAT(Words("a  "), ElementsAre("a", "  "));
  EXPECT_THAT(Words("a "), ElementsAre("a", " "));
  EXPECT_THAT(Words("a\u3000\u3000b"), ElementsAre("a", "\u3000", "\u3000", "b"));
  EXPECT_THAT(Words("a \u00A0b"), ElementsAre("a", " ", "\u00A0", "b"));
}

TEST(PretokenizerTest, ClassesGoBeyondAscii) {
  EXPECT_THAT(Words("\u00E9t\u00E9 \u4F60\u597D\uFF01"),
              ElementsAre("\u00E9t\u00E9", " \u4F60\u597D", "\uFF01"));
  EXPECT_THAT(Words("x\u00B2\u00BD"), ElementsAre("x", "\u00B2\u00BD"));
  EXPECT_THAT(Words("e\u0301a"), ElementsAre("e", "\u0301", "a"));  // a mark is no letter
}

// The pattern itself, run by ICU, with \s spelled out (ICU's own lacks two).
class IcuSplitter {
 public:
  IcuSplitter() {
    UErrorCode status = U_ZERO_ERROR;
    pattern_.reset(icu::RegexPattern::compile(
        u"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+"
        u"|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
        0, status));
    EXPECT_TRUE(U_SUCCESS(status));
  }

  std::vector<std::string> Split(const icu::UnicodeString& text) const {
    UErrorCode status = U_ZERO_ERROR;
    const std::unique_ptr<icu::RegexMatcher> matcher(pattern_->matcher(text, status));
    std::vector<std::string> words;
    while (matcher->find(status)) {
      std::string word;
      words.push_back(matcher->group(status).toUTF8String(word));
    }
    EXPECT_TRUE(U_SUCCESS(status));
    return words;
  }

 private:
  std::unique_ptr<icu::RegexPattern> pattern_;
};

// ICU's Unicode may be older than the reference's, so only what it knows.
TEST(PretokenizerTest, AgreesWithTheRegularExpressionOnRandomText) {
  std::vector<UChar32> known;
  for (UChar32 c = 0x80; c <= 0x10FFFF; ++c) {
    if (u_isdefined(c) && !U_IS_SURROGATE(c)) known.push_back(c);
  }
  const icu::UnicodeString common =
      u"   \t\n\r\u00A0\u0085\u3000''''stremvldSTab01.,-\u00E9\u0301\u4F60\u0661\u2019";
  const IcuSplitter splitter;
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    icu::UnicodeString text;
    for (int length = random() % 20; length > 0; --length) {
      const bool rare = random() % 8 == 0;
      text.append(rare ? known[random() % known.size()]
                       : static_cast<UChar32>(common[random() % common.length()]));
    }
    std::string utf8;
    text.toUTF8String(utf8);
    ASSERT_EQ(Words(utf8), splitter.Split(text)) << ::testing::PrintToString(utf8);
  }
}

}  // namespace
}  // namespace olmoe::text
