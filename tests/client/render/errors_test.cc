#include "client/render/errors.h"

#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::render {
namespace {

template <typename Detail>
absl::Status With(absl::Status status, const Detail& detail) {
  status.SetPayload("type.googleapis.com/" + Detail::descriptor()->full_name(),
                    absl::Cord(detail.SerializeAsString()));
  return status;
}

absl::Status BadTopP(const std::string& message) {
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field("sampling.top_p");
  violation->set_description("must be > 0 and <= 1, is 2");
  return With(absl::InvalidArgumentError(message), bad_request);
}

TEST(ErrorText, CodeAndMessageAreOneLine) {
  EXPECT_EQ(ErrorText(absl::InternalError("layer 3:\nNaN"), Style()),
            "olmoectl: INTERNAL: layer 3: NaN\n");
}

TEST(ErrorText, ViolationsAreListed) {
  EXPECT_EQ(ErrorText(BadTopP("1 field"), Style()),
            "olmoectl: INVALID_ARGUMENT: 1 field\n"
            "  sampling.top_p: must be > 0 and <= 1, is 2\n");
}

TEST(ErrorText, ViolationsThatTheMessageTellsAreNotRepeated) {
  EXPECT_EQ(ErrorText(BadTopP("sampling.top_p: must be > 0 and <= 1, is 2"), Style()),
            "olmoectl: INVALID_ARGUMENT: sampling.top_p: must be > 0 and <= 1, is 2\n");
}

TEST(ErrorText, RetryDelayAndReasonAreTold) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(250000000);
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  (*info.mutable_metadata())["queued"] = "256";
  const std::string text = ErrorText(
      With(With(absl::ResourceExhaustedError("the queue is full"), retry), info), Style());
  EXPECT_THAT(text, ::testing::StartsWith("olmoectl: RESOURCE_EXHAUSTED: the queue is full\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\n  retry after 250.0 ms\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\n  reason QUEUE_FULL, queued 256\n"));
}

TEST(ErrorText, PreconditionsAreTold) {
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type("CALIBRATION");
  violation->set_subject("wiki");
  violation->set_description("does not exist");
  EXPECT_THAT(ErrorText(With(absl::FailedPreconditionError("no"), failure), Style()),
              ::testing::HasSubstr("\n  CALIBRATION wiki: does not exist\n"));
}

TEST(ErrorText, APreconditionThatTheMessageTellsIsNotRepeated) {
  const std::string message = "policy.apply.bh.calibration_id: calibration \"x\" does not exist";
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type("CALIBRATION_MISSING");
  violation->set_subject("calibrations/x");
  violation->set_description(message);
  EXPECT_EQ(
      ErrorText(With(absl::FailedPreconditionError(message), failure), Style()),
      "olmoectl: FAILED_PRECONDITION: " + message + "\n  CALIBRATION_MISSING calibrations/x\n");
}

TEST(ErrorText, DetailsThatCannotBeReadAreLeftOut) {
  absl::Status status = absl::AbortedError("stale");
  status.SetPayload("type.googleapis.com/google.rpc.BadRequest", absl::Cord("\xff\xff"));
  status.SetPayload("type.googleapis.com/who.Knows", absl::Cord("x"));
  EXPECT_EQ(ErrorText(status, Style()), "olmoectl: ABORTED: stale\n");
}

TEST(ErrorJson, IsTheJsonFormOfGoogleRpcStatus) {
  absl::Status status = BadTopP("1 field");
  status.SetPayload("type.googleapis.com/who.Knows", absl::Cord("x"));
  const auto json = nlohmann::json::parse(ErrorJson(status));
  EXPECT_EQ(json["code"], 3);
  EXPECT_EQ(json["message"], "1 field");
  ASSERT_EQ(json["details"].size(), 1u);
  EXPECT_EQ(json["details"][0]["field_violations"][0]["field"], "sampling.top_p");
}

}  // namespace
}  // namespace olmoe::client::render
