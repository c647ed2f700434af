#include "client/notation/text.h"

#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

TEST(FirstInvalidUtf8, WellFormedTextHasNone) {
  EXPECT_EQ(FirstInvalidUtf8(""), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xbb"), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8(std::string_view("a\0b", 3)), std::nullopt);
}

TEST(FirstInvalidUtf8, TheFirstIllFormedByteIsNamed) {
  EXPECT_EQ(FirstInvalidUtf8("\xff"), 0u);
  EXPECT_EQ(FirstInvalidUtf8("ab\xc3"), 2u);              // cut off
  EXPECT_EQ(FirstInvalidUtf8("a\xc0\xaf"), 1u);           // overlong
  EXPECT_EQ(FirstInvalidUtf8("\xed\xa0\x80"), 0u);        // surrogate
  EXPECT_EQ(FirstInvalidUtf8("\xf4\x90\x80\x80"), 0u);    // beyond U+10FFFF
}

TEST(CountCodePoints, CountsCharactersNotBytes) {
  EXPECT_EQ(CountCodePoints("a\xc3\xa9\xf0\x9f\x90\xbb"), 3u);
}

TEST(Lines, EndAtLineFeedsWithOrWithoutCarriageReturns) {
  Lines lines("a\r\n\nb");
  std::string_view line;
  ASSERT_TRUE(lines.Next(&line));
  EXPECT_EQ(line, "a");
  ASSERT_TRUE(lines.Next(&line));
  EXPECT_EQ(line, "");
  ASSERT_TRUE(lines.Next(&line));
  EXPECT_EQ(line, "b");
  EXPECT_EQ(lines.number(), 3u);
  EXPECT_FALSE(lines.Next(&line));
  Lines ended("a\n");
  ASSERT_TRUE(ended.Next(&line));
  EXPECT_FALSE(ended.Next(&line));
}

}  // namespace
}  // namespace olmoe::client::notation
