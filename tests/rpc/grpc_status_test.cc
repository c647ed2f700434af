#include "server/rpc/grpc_status.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/api/conversions.h"
#include "server/util/status_details.h"
#include "tests/rpc/status_details.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::SizeIs;

TEST(GrpcStatusTest, CodeMessageAndEveryDetailSurvive) {
  absl::Status status = WithErrorInfo(absl::AbortedError("stale"), "GENERATION_MISMATCH",
                                      {{"current_generation", "7"}});
  status = WithRetryDelay(status, absl::Seconds(2));
  const grpc::Status sent = ToGrpcStatus(status);
  EXPECT_EQ(sent.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(sent.error_message(), "stale");
  EXPECT_EQ(ErrorInfoOf(sent).reason(), "GENERATION_MISMATCH");
  EXPECT_EQ(ErrorInfoOf(sent).metadata().at("current_generation"), "7");
  EXPECT_TRUE(HasRetryInfo(sent));
}

TEST(GrpcStatusTest, OkHasNothing) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_EQ(ToGrpcStatus(absl::OkStatus()).error_details(), "");
}

TEST(GrpcStatusTest, WithoutPayloadsThereAreNoDetails) {
  EXPECT_EQ(ToGrpcStatus(absl::CancelledError("gone")).error_details(), "");
}

TEST(GrpcStatusTest, ManyViolationsAreCutToWhatTrailersHold) {
  std::vector<FieldViolation> violations;
  for (int i = 0; i < 1000; ++i) {
    violations.push_back({absl::StrCat("items[", i, "]"), "must be something else"});
  }
  const absl::Status status = InvalidFields(violations);
  const grpc::Status sent = ToGrpcStatus(status);
  // Base64 takes 4/3, and clients accept 8 KiB of trailers by default.
  EXPECT_LT(sent.error_message().size() + sent.error_details().size() * 4 / 3, 7000u);
  EXPECT_THAT(sent.error_message(), EndsWith("..."));
  const google::rpc::Status details = DetailsOf(sent);
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
  const int listed = bad_request.field_violations_size() - 1;
  EXPECT_GT(listed, 20);
  EXPECT_EQ(bad_request.field_violations(0).field(), "items[0]");
  EXPECT_EQ(bad_request.field_violations(listed).description(),
            absl::StrCat("and ", 1000 - listed, " more"));
  // Inside a stream nothing is cut.
  EXPECT_THAT(ViolatedFields(api::ToRpcStatus(status)), SizeIs(1000));
}

TEST(GrpcStatusTest, MessagesAreCutBetweenCharacters) {
  // Byte 509, where the cut would be, is the second one of a character.
  const std::string message = std::string(508, 'a') + "\xC3\xA9\xC3\xA9\xC3\xA9";
  const grpc::Status sent = ToGrpcStatus(absl::InternalError(message));
  EXPECT_LE(sent.error_message().size(), 512u);
  EXPECT_THAT(sent.error_message(), EndsWith("a..."));
}

}  // namespace
}  // namespace olmoe::rpc
