#include "server/text/vocabulary.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace olmoe::text {
namespace {

TEST(VocabularyTest, IdsWithoutATokenHaveNoBytesAndAreNotSpecial) {
  Vocabulary vocabulary;
  vocabulary.Set(5, "a", /*special=*/true);
  EXPECT_EQ(vocabulary.size(), 6);
  for (const TokenId id : {-1, INT32_MIN, 0, 4, 6, INT32_MAX}) {
    EXPECT_FALSE(vocabulary.Has(id)) << id;
    EXPECT_EQ(vocabulary.Bytes(id), "") << id;
    EXPECT_FALSE(vocabulary.IsSpecial(id)) << id;
  }
  EXPECT_TRUE(vocabulary.Has(5));
  EXPECT_TRUE(vocabulary.IsSpecial(5));
}

TEST(VocabularyTest, ContentIsAlphabetOrLiteral) {
  Vocabulary vocabulary;
  vocabulary.Set(0, "\u0120the\u010A", false);
  vocabulary.Set(1, "  \u4F60", false);
  vocabulary.Set(2, "\u00E9", false);
  EXPECT_EQ(vocabulary.Bytes(0), " the\n");
  EXPECT_EQ(vocabulary.Bytes(1), "  \u4F60");
  EXPECT_EQ(vocabulary.Bytes(2), "\xE9");  // one character of the alphabet: one byte
}

TEST(VocabularyTest, OnlySpacesOfTheAlphabetAndLiteralWhiteSpaceCount) {
  Vocabulary vocabulary;
  vocabulary.Set(0, "\u0120\u0120a\u0120", false);
  vocabulary.Set(1, "\u010Aa\u010A", false);
  vocabulary.Set(2, "\u3000 ", false);
  EXPECT_EQ(vocabulary.Spaces(0).leading, 2u);
  EXPECT_EQ(vocabulary.Spaces(0).trailing, 1u);
  EXPECT_EQ(vocabulary.Spaces(1).leading, 0u);
  EXPECT_EQ(vocabulary.Spaces(1).trailing, 0u);
  EXPECT_EQ(vocabulary.Spaces(2).leading, 2u);
  EXPECT_EQ(vocabulary.Spaces(2).trailing, 2u);
}

}  // namespace
}  // namespace olmoe::text
