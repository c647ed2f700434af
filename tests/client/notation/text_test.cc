#include "client/notation/text.h"

#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

TEST(CheckUtf8, NothingIsWrongWithWellFormedText) {
  EXPECT_EQ(CheckUtf8(""), "");
  EXPECT_EQ(CheckUtf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xbb"), "");
  EXPECT_EQ(CheckUtf8(std::string_view("a\0b", 3)), "");
}

TEST(CheckUtf8, TheFirstIllFormedByteIsNamed) {
  EXPECT_EQ(CheckUtf8("\xff"), "not UTF-8 from byte 0 on");
  EXPECT_EQ(CheckUtf8("ab\xc3"), "not UTF-8 from byte 2 on");            // cut off
  EXPECT_EQ(CheckUtf8("a\xc0\xaf"), "not UTF-8 from byte 1 on");         // overlong
  EXPECT_EQ(CheckUtf8("\xed\xa0\x80"), "not UTF-8 from byte 0 on");      // surrogate
  EXPECT_EQ(CheckUtf8("\xf4\x90\x80\x80"), "not UTF-8 from byte 0 on");  // beyond U+10FFFF
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
