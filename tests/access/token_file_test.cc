#include "server/access/token_file.h"

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/log_capture.h"
#include "tests/support/temp_folder.h"

namespace olmoe::access {
namespace {

using ::olmoe::testing::LogCapture;
using ::olmoe::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

constexpr char kOld[] = "old-secret-0123456789";
constexpr char kNew[] = "new-secret-0123456789";

TEST(TokenFileTest, AChangeHoldsAtTheNextCall) {
  TempFolder folder;
  const auto file = TokenFile::Open(folder.Write("t", absl::StrCat("ops:", kOld)));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->NameOf(kOld), Optional(std::string("ops")));
  EXPECT_EQ((*file)->NameOf(kNew), std::nullopt);
  folder.Write("t", absl::StrCat("ops:", kNew));
  EXPECT_EQ((*file)->NameOf(kOld), std::nullopt);
  EXPECT_THAT((*file)->NameOf(kNew), Optional(std::string("ops")));
}

TEST(TokenFileTest, ABadChangeKeepsTheTokensAndIsToldOnceWithoutThem) {
  TempFolder folder;
  const std::string path = folder.Write("t", kOld);
  const auto file = TokenFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  LogCapture log;
  folder.Write("t", "my-pin: 1234");
  for (int i = 0; i < 5; ++i) EXPECT_TRUE((*file)->NameOf(kOld));
  EXPECT_EQ(log.CountOf("the tokens before stay good"), 1);
  EXPECT_THAT(log.text(), HasSubstr(path));
  EXPECT_THAT(log.text(), Not(HasSubstr("1234")));
  std::filesystem::remove(path);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE((*file)->NameOf(kOld));
  EXPECT_EQ(log.CountOf("the tokens before stay good"), 2);
  folder.Write("t", kNew);
  EXPECT_TRUE((*file)->NameOf(kNew));
  EXPECT_FALSE((*file)->NameOf(kOld));
}

TEST(TokenFileTest, ProblemsAtTheStartNameTheFile) {
  TempFolder folder;
  for (const std::string& path :
       {folder.File("absent"), folder.Write("empty", ""), folder.Write("short", "abc")}) {
    const auto file = TokenFile::Open(path);
    EXPECT_FALSE(file.ok());
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(path));
  }
}

TEST(TokenFileTest, AFileThatEverybodyMayReadIsWarnedOf) {
  TempFolder folder;
  const std::string path = folder.Write("t", kOld);
  using std::filesystem::perms;
  std::filesystem::permissions(path, perms::owner_read);
  LogCapture log;
  EXPECT_TRUE(TokenFile::Open(path).ok());
  EXPECT_EQ(log.CountOf("chmod 600"), 0);
  std::filesystem::permissions(path, perms::owner_read | perms::others_read);
  EXPECT_TRUE(TokenFile::Open(path).ok());
  EXPECT_EQ(log.CountOf("chmod 600"), 1);
}

// One of two tokens is good at any time, whichever list a reader sees.
TEST(TokenFileTest, ReadersSeeTheOldListOrTheNewOne) {
  TempFolder folder;
  const std::string keeper = "keeper-secret-0123456789";
  const std::string path = folder.Write("t", absl::StrCat(kOld, "\nkeeper:", keeper));
  const auto file = TokenFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 4; ++reader) {
    readers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        EXPECT_THAT((*file)->NameOf(keeper), Optional(std::string("keeper")));
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    const char* other = i % 2 == 0 ? kNew : kOld;
    std::filesystem::rename(folder.Write("next", absl::StrCat(other, "\nkeeper:", keeper)), path);
  }
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace olmoe::access
