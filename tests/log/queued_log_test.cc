#include "server/log/queued_log.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/log/pipe.h"

namespace olmoe::log {
namespace {

TEST(QueuedLogTest, InJsonEveryLineOfGlogIsAnObjectAndGlogItselfIsSilent) {
  if (!google::IsGoogleLoggingInitialized()) google::InitGoogleLogging("queued_log_test");
  Pipe pipe;
  ::testing::internal::CaptureStderr();
  {
    LineWriter writer({.fd = pipe.writer()});
    QueuedLog log(LogFormat::kJson, &writer);
    LOG(INFO) << "one \"quoted\"\nand broken";
    LOG(ERROR) << "two";
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  const std::vector<std::string> lines = pipe.ReadRest();
  ASSERT_EQ(lines.size(), 2u);
  const auto one = nlohmann::json::parse(lines[0]), two = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(one["severity"], "INFO");
  EXPECT_EQ(one["message"], "one \"quoted\"\nand broken");
  EXPECT_EQ(one["file"], "queued_log_test.cc");
  EXPECT_GT(one["line"], 0);
  EXPECT_EQ(two["severity"], "ERROR");
  EXPECT_LE(one["time"], two["time"]);
}

TEST(QueuedLogTest, InTextLinesAreThoseOfGlog) {
  Pipe pipe;
  {
    LineWriter writer({.fd = pipe.writer()});
    QueuedLog log(LogFormat::kText, &writer);
    LOG(WARNING) << "one";
  }
  const std::vector<std::string> lines = pipe.ReadRest();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], ::testing::MatchesRegex(
                            "W[0-9]{8} [0-9:.]{15} +[0-9]+ queued_log_test.cc:[0-9]+\\] one"));
}

void Crash() {
  LineWriter writer({});
  QueuedLog log(LogFormat::kJson, &writer);
  CHECK(false) << "no way";
}

TEST(QueuedLogDeathTest, TheReasonOfACrashIsWritten) {
  EXPECT_DEATH(Crash(), "\"severity\":\"FATAL\",\"message\":\"Check failed: false no way\"");
}

}  // namespace
}  // namespace olmoe::log
