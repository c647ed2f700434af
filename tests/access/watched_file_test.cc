#include "server/access/watched_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace olmoe::access {
namespace {

using ::olmoe::testing::TempFolder;
using ::testing::HasSubstr;

TEST(WatchedFileTest, AWriteRightAfterTheReadIsSeen) {
  TempFolder folder;
  const std::string path = folder.Write("f", "one");
  WatchedFile file(path);
  EXPECT_TRUE(file.MayHaveChanged());
  ASSERT_EQ(file.Read().value(), "one");
  // Same size, and often the same time stamp.
  folder.Write("f", "two");
  ASSERT_TRUE(file.MayHaveChanged());
  EXPECT_EQ(file.Read().value(), "two");
}

TEST(WatchedFileTest, AFileThatIsOldWhenItIsReadHasNotChanged) {
  // The time of a change cannot be set back: a file that is older than the test.
  WatchedFile old("/etc/passwd");
  ASSERT_TRUE(old.Read().ok());
  EXPECT_FALSE(old.MayHaveChanged());
}

TEST(WatchedFileTest, ARenameOverItIsSeen) {
  TempFolder folder;
  WatchedFile file(folder.Write("f", "one"));
  ASSERT_TRUE(file.Read().ok());
  std::filesystem::rename(folder.Write("new", "two"), folder.File("f"));
  ASSERT_TRUE(file.MayHaveChanged());
  EXPECT_EQ(file.Read().value(), "two");
}

TEST(WatchedFileTest, ProblemsNameTheFile) {
  TempFolder folder;
  const std::string fifo = folder.File("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string large = folder.Write("large", std::string((1 << 20) + 1, 'x'));
  for (const std::string& path : {folder.File("absent"), folder.path(), fifo, large}) {
    WatchedFile file(path);
    const auto content = file.Read();
    EXPECT_TRUE(absl::IsUnavailable(content.status())) << path;
    EXPECT_THAT(std::string(content.status().message()), HasSubstr(path));
  }
}

TEST(WatchedFileTest, AMissingFileHasNotChangedUntilItIsThere) {
  TempFolder folder;
  WatchedFile file(folder.File("f"));
  EXPECT_FALSE(file.Read().ok());
  EXPECT_FALSE(file.MayHaveChanged());
  folder.Write("f", "one");
  EXPECT_TRUE(file.MayHaveChanged());
}

TEST(WatchedFileTest, TellsWhoMayReadIt) {
  TempFolder folder;
  const std::string path = folder.Write("f", "one");
  WatchedFile file(path);
  for (const bool everybody : {false, true}) {
    ASSERT_EQ(chmod(path.c_str(), everybody ? 0644 : 0640), 0);
    ASSERT_TRUE(file.Read().ok());
    EXPECT_EQ(file.world_readable(), everybody);
  }
}

TEST(WatchedFileTest, NoPathIsAnEmptyFileThatStays) {
  WatchedFile file("");
  EXPECT_FALSE(file.MayHaveChanged());
  EXPECT_EQ(file.Read().value(), "");
}

}  // namespace
}  // namespace olmoe::access
