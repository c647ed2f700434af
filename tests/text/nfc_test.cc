#include "server/text/nfc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "server/text/unicode.h"

namespace olmoe::text {
namespace {

using ::testing::ElementsAre;

const icu::Normalizer2& Icu() {
  UErrorCode status = U_ZERO_ERROR;
  return *icu::Normalizer2::getNFCInstance(status);
}

bool IsAtMostUnicode9(UChar32 c) {
  UVersionInfo age;
  u_charAge(c, age);
  return age[0] >= 1 && age[0] <= 9;
}

std::string ToUtf8(const icu::UnicodeString& text) {
  std::string utf8;
  return text.toUTF8String(utf8);
}

TEST(NfcTest, ComposesAndSaysWhereEachCharacterCameFrom) {
  const NormalizedText normalized = NormalizeNfc("cafe\u0301s");
  EXPECT_EQ(normalized.text, "caf\u00E9s");
  EXPECT_THAT(normalized.origins, ElementsAre(0, 1, 2, 3, 5));
}

TEST(NfcTest, ReorderedMarksTakeTheSourceInOrder) {
  const NormalizedText normalized = NormalizeNfc("e\u0301\u0323");
  EXPECT_EQ(normalized.text, "\u1EB9\u0301");
  EXPECT_THAT(normalized.origins, ElementsAre(0, 2));
}

TEST(NfcTest, PartsOfADecompositionShareTheirOrigin) {
  const NormalizedText excluded = NormalizeNfc("\u0958\u0958");
  EXPECT_EQ(excluded.text, "\u0915\u093C\u0915\u093C");
  EXPECT_THAT(excluded.origins, ElementsAre(0, 0, 1, 1));
  // U+0344 is two marks; x takes the first, the second remains.
  const NormalizedText shared = NormalizeNfc("x\u0344y");
  EXPECT_EQ(shared.text, "\u1E8D\u0301y");
  EXPECT_THAT(shared.origins, ElementsAre(0, 1, 2));
}

TEST(NfcTest, HangulComposes) {
  const NormalizedText normalized = NormalizeNfc("\u1112\u1161\u11AB\u1100");
  EXPECT_EQ(normalized.text, "\uD55C\u1100");
  EXPECT_THAT(normalized.origins, ElementsAre(0, 3));
}

TEST(NfcTest, NormalizedTextIsRecognised) {
  for (const char* text : {"", "plain", "caf\u00E9", "\uD55C\uAE00", "x\u0301"}) {
    EXPECT_TRUE(IsNfc(text)) << text;
  }
  for (const char* text : {"cafe\u0301", "\u212B", "\u0340", "\u1112\u1161"}) {
    EXPECT_FALSE(IsNfc(text)) << text;
  }
}

// The reference has the data of Unicode 9.0.
TEST(NfcTest, CharactersNewerThanUnicode9AreLeftAlone) {
  // U+1DF6 (10.0) would go behind U+0323, U+11935 U+11930 (13.0) would compose.
  for (const std::string text : {"a\u1DF6\u0323", "\U00011935\U00011930"}) {
    EXPECT_FALSE(IsNfc(text));
    EXPECT_EQ(NormalizeNfc(text).text, text);
  }
}

// All characters that normalization changes or that take part in it, over-represented.
TEST(NfcTest, AgreesWithIcuOnRandomText) {
  std::vector<UChar32> plain;
  std::vector<UChar32> active;
  for (UChar32 c = 0; c <= 0x10FFFF; ++c) {
    if (!IsAtMostUnicode9(c) || U_IS_SURROGATE(c)) continue;
    (Icu().isInert(c) ? plain : active).push_back(c);
  }
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    icu::UnicodeString source;
    for (int length = random() % 12; length > 0; --length) {
      const std::vector<UChar32>& from = random() % 5 == 0 ? plain : active;
      source.append(from[random() % from.size()]);
    }
    UErrorCode status = U_ZERO_ERROR;
    const std::string expected = ToUtf8(Icu().normalize(source, status));
    const std::string utf8 = ToUtf8(source);
    const NormalizedText normalized = NormalizeNfc(utf8);
    ASSERT_EQ(normalized.text, expected);
    ASSERT_EQ(IsNfc(utf8), utf8 == expected);
    ASSERT_EQ(normalized.origins.size(), CountCodePoints(expected));
    ASSERT_TRUE(std::is_sorted(normalized.origins.begin(), normalized.origins.end()));
    if (!normalized.origins.empty()) {
      ASSERT_LT(normalized.origins.back(), CountCodePoints(utf8));
    }
  }
}

TEST(NfcTest, EndlessRunOfMarksIsOrdered) {
  std::string text = "a";
  for (int i = 0; i < 100000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  const NormalizedText normalized = NormalizeNfc(text);
  EXPECT_TRUE(normalized.text.starts_with("\u1EA1\u0323\u0323"));
  EXPECT_TRUE(normalized.text.ends_with("\u0301\u0301"));
  EXPECT_EQ(normalized.origins.size(), 100000u);
}

}  // namespace
}  // namespace olmoe::text
