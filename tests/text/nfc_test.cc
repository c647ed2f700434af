#include "server/text/nfc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "server/util/utf8.h"

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

struct Normalized {
  std::string text;
  std::vector<uint32_t> origins;
};

Normalized Normalize(std::string_view utf8) {
  Normalized result;
  for (NfcReader reader(utf8); !reader.done();) reader.Next(&result.text, &result.origins);
  return result;
}

TEST(NfcTest, ComposesAndSaysWhereEachCharacterCameFrom) {
  const Normalized normalized = Normalize("cafe\u0301s");
  EXPECT_EQ(normalized.text, "caf\u00E9s");
  EXPECT_THAT(normalized.origins, ElementsAre(0, 1, 2, 3, 5));
}

TEST(NfcTest, ReorderedMarksTakeTheSourceInOrder) {
  const Normalized normalized = Normalize("e\u0301\u0323");
  EXPECT_EQ(normalized.text, "\u1EB9\u0301");
  EXPECT_THAT(normalized.origins, ElementsAre(0, 2));
}

TEST(NfcTest, PartsOfADecompositionShareTheirOrigin) {
  const Normalized excluded = Normalize("\u0958\u0958");
  EXPECT_EQ(excluded.text, "\u0915\u093C\u0915\u093C");
  EXPECT_THAT(excluded.origins, ElementsAre(0, 0, 1, 1));
  // U+0344 is two marks; x takes the first, the second remains.
  const Normalized shared = Normalize("x\u0344y");
  EXPECT_EQ(shared.text, "\u1E8D\u0301y");
  EXPECT_THAT(shared.origins, ElementsAre(0, 1, 2));
}

TEST(NfcTest, HangulComposes) {
  const Normalized normalized = Normalize("\u1112\u1161\u11AB\u1100");
  EXPECT_EQ(normalized.text, "\uD55C\u1100");
  EXPECT_THAT(normalized.origins, ElementsAre(0, 3));
}

TEST(NfcTest, NormalizedTextIsRecognised) {
  for (const char* text : {"", "plain", "caf\u00E9", "\uD55C\uAE00", "x\u0316\u035C"}) {
    EXPECT_TRUE(IsCertainlyNfc(text)) << text;
  }
  for (const char* text : {"cafe\u0301", "\u212B", "\u0340", "\u1112\u1161", "x\u035C\u0316"}) {
    EXPECT_FALSE(IsCertainlyNfc(text)) << text;
  }
  EXPECT_FALSE(IsCertainlyNfc("x\u0301"));  // is NFC, but with another letter it would compose
}

// The reference has the data of Unicode 9.0.
TEST(NfcTest, CharactersNewerThanUnicode9AreLeftAlone) {
  // U+1DF6 (10.0) would go behind U+0323, U+11935 U+11930 (13.0) would compose.
  for (const std::string text : {"a\u1DF6\u0323", "\U00011935\U00011930"}) {
    EXPECT_FALSE(IsCertainlyNfc(text));
    EXPECT_EQ(NormalizeNfc(text), text);
  }
}

// The characters of Unicode 9.0: those that normalization leaves alone, and those that it
// changes or that take part in it.
struct Characters {
  std::vector<UChar32> plain;
  std::vector<UChar32> active;

  Characters() {
    for (UChar32 c = 0; c <= 0x10FFFF; ++c) {
      if (!IsAtMostUnicode9(c) || U_IS_SURROGATE(c)) continue;
      (Icu().isInert(c) ? plain : active).push_back(c);
    }
  }
  // One in `rarity` is active.
  icu::UnicodeString RandomText(int length, unsigned rarity, std::mt19937* random) const {
    icu::UnicodeString text;
    for (; length > 0; --length) {
      const std::vector<UChar32>& from = (*random)() % rarity == 0 ? active : plain;
      text.append(from[(*random)() % from.size()]);
    }
    return text;
  }
};

void ExpectIcusNfc(const icu::UnicodeString& source) {
  UErrorCode status = U_ZERO_ERROR;
  const std::string expected = ToUtf8(Icu().normalize(source, status));
  const std::string utf8 = ToUtf8(source);
  const Normalized normalized = Normalize(utf8);
  ASSERT_EQ(normalized.text, expected);
  ASSERT_EQ(NormalizeNfc(utf8), expected);
  ASSERT_TRUE(!IsCertainlyNfc(utf8) || utf8 == expected);
  ASSERT_EQ(normalized.origins.size(), CountCodePoints(expected));
  ASSERT_TRUE(std::is_sorted(normalized.origins.begin(), normalized.origins.end()));
  if (!normalized.origins.empty()) {
    ASSERT_LT(normalized.origins.back(), CountCodePoints(utf8));
  }
}

// All characters that normalization changes or that take part in it, over-represented.
TEST(NfcTest, AgreesWithIcuOnRandomText) {
  const Characters characters;
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    ExpectIcusNfc(characters.RandomText(random() % 12, 1 + random() % 3, &random));
  }
}

// Long enough for several stretches, some of them NFC.
TEST(NfcTest, StretchesOfALongTextAreJoinedWithoutATrace) {
  const Characters characters;
  std::mt19937 random(4);
  for (const unsigned rarity : {1u, 2u, 100u, 3000u}) {
    for (int round = 0; round < 10; ++round) {
      ExpectIcusNfc(characters.RandomText(10000, rarity, &random));
    }
  }
}

TEST(NfcTest, OriginsGoOnAcrossStretches) {
  std::string text;
  std::vector<uint32_t> expected;
  for (uint32_t i = 0; i < 10000; ++i) {
    text += "e\u0301";
    expected.push_back(2 * i);
  }
  EXPECT_EQ(Normalize(text).origins, expected);
}

TEST(NfcTest, EndlessRunOfMarksIsOrdered) {
  std::string text = "a";
  for (int i = 0; i < 100000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  const Normalized normalized = Normalize(text);
  EXPECT_TRUE(normalized.text.starts_with("\u1EA1\u0323\u0323"));
  EXPECT_TRUE(normalized.text.ends_with("\u0301\u0301"));
  EXPECT_EQ(normalized.origins.size(), 100000u);
}

}  // namespace
}  // namespace olmoe::text
