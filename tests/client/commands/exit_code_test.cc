#include "client/commands/session.h"

#include "gtest/gtest.h"

namespace olmoe::client::commands {
namespace {

TEST(ExitCodeFor, EveryCodeHasItsClass) {
  const auto code = [](int grpc_code) {
    return ExitCodeFor(absl::Status(static_cast<absl::StatusCode>(grpc_code), "x"));
  };
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(code(14), ExitCode::kUnreachable);                      // UNAVAILABLE
  for (const int allowed : {7, 16}) EXPECT_EQ(code(allowed), ExitCode::kNotAllowed) << allowed;
  for (const int refused : {3, 5, 6, 8, 9, 10, 11, 12}) {
    EXPECT_EQ(code(refused), ExitCode::kRefused) << refused;
  }
  for (const int failed : {1, 2, 4, 13, 15}) EXPECT_EQ(code(failed), ExitCode::kFailed) << failed;
}

TEST(ExitCodeFor, NumbersAreTheDocumentedOnes) {
  EXPECT_EQ(static_cast<int>(ExitCode::kOk), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::kFailed), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kUnreachable), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kRefused), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kNotAllowed), 5);
}

}  // namespace
}  // namespace olmoe::client::commands
