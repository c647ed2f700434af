#include "server/access/token_list.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::access {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

constexpr char kAlice[] = "alice-secret-0123456789";
constexpr char kBob[] = "Bob.secret_~+/0123456789==";

TEST(TokenListTest, LinesAreTokensWithOrWithoutAName) {
  const auto list =
      TokenList::Parse(absl::StrCat("# who may call\n\n  alice:", kAlice, "  \r\n", kBob, "\n"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->NameOf(kAlice), Optional(std::string("alice")));
  EXPECT_THAT(list->NameOf(kBob), Optional(std::string()));
}

TEST(TokenListTest, OnlyTheWholeTokenMatches) {
  const auto list = TokenList::Parse(absl::StrCat("alice:", kAlice));
  ASSERT_TRUE(list.ok()) << list.status();
  const std::string token = kAlice;
  for (const std::string& other :
       {std::string(), token.substr(1), token.substr(0, token.size() - 1), token + "x",
        absl::StrCat("alice:", token), std::string("ALICE-SECRET-0123456789"),
        token + std::string(1, '\0')}) {
    EXPECT_EQ(list->NameOf(other), std::nullopt) << other;
  }
}

TEST(TokenListTest, TwoTokensMayHaveOneName) {
  const auto list = TokenList::Parse(absl::StrCat("ops:", kAlice, "\nops:", kBob));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->NameOf(kAlice), Optional(std::string("ops")));
  EXPECT_THAT(list->NameOf(kBob), Optional(std::string("ops")));
}

TEST(TokenListTest, EveryBadLineIsToldByNumberAndNoneByContent) {
  const auto list =
      TokenList::Parse(absl::StrCat("short\n", "a b:", kAlice, "\nbob:has a space in its middle\n",
                                    kBob, "\nx:", kBob, "\n", std::string(513, 'x'), "\n"));
  const std::string message(list.status().message());
  EXPECT_TRUE(absl::IsInvalidArgument(list.status()));
  for (const char* line : {"line 1: a token", "line 2: a name", "line 3: a token",
                           "line 5: the token is there already", "line 6: a token"}) {
    EXPECT_THAT(message, HasSubstr(line));
  }
  EXPECT_THAT(message, Not(HasSubstr("line 4")));
  for (const char* content : {"short", kAlice, kBob, "middle", "xxxx"}) {
    EXPECT_THAT(message, Not(HasSubstr(content)));
  }
}

TEST(TokenListTest, AListWithoutATokenIsRefused) {
  for (const char* text : {"", "\n\n", "# only a comment\n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(TokenList::Parse(text).status())) << text;
  }
}

}  // namespace
}  // namespace olmoe::access
