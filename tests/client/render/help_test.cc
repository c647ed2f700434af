#include "client/render/help.h"

#include <string>

#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

TEST(WrapTest, BreaksBetweenWordsAndKeepsBreaks) {
  EXPECT_EQ(Wrap("one two three", 7), "one two\nthree");
  EXPECT_EQ(Wrap("one\ntwo three", 80), "one\ntwo three");
  EXPECT_EQ(Wrap("averylongword a", 4), "averylongword\na");
  EXPECT_EQ(Wrap("", 10), "");
}

}  // namespace
}  // namespace olmoe::client::render
