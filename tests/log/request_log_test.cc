#include "server/log/request_log.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/log/pipe.h"

namespace olmoe::log {
namespace {

using ::testing::EndsWith;

engine::Completion Completed() {
  engine::Completion completion;
  completion.choices = {{.finish_reason = engine::FinishReason::kEos}};
  completion.prompt_tokens = 5;
  completion.completion_tokens = 7;
  completion.timing.queue = absl::Milliseconds(1);
  completion.timing.time_to_first_token = absl::Milliseconds(20);
  completion.timing.total = absl::Seconds(2);
  return completion;
}

engine::RequestOutcome Done() {
  static const engine::Completion completion = Completed();
  engine::RequestOutcome outcome;
  outcome.method = "Generate";
  outcome.request_id = "r-1";
  outcome.arm_id = "control";
  outcome.policy_id = "native";
  outcome.generation = 3;
  outcome.completion = &completion;
  return outcome;
}

engine::RequestOutcome Refused(absl::StatusCode code) {
  engine::RequestOutcome outcome;
  outcome.method = "Score";
  outcome.request_id = "r-2";
  outcome.status = absl::Status(code, "not told");
  return outcome;
}

class RequestLogTest : public ::testing::Test {
 protected:
  void Start(LogFormat format) {
    writer_ = std::make_unique<LineWriter>(LineWriter::Options{.fd = pipe_.writer()});
    log_ = std::make_unique<RequestLog>(
        RequestLog::Options{.format = format,
                            .refused = {.max_per_period = 2, .period = absl::Seconds(10)},
                            .now = [this] { return now_; }},
        writer_.get());
  }
  std::vector<std::string> Finish() {
    log_.reset();
    writer_.reset();
    return pipe_.ReadRest();
  }
  std::vector<nlohmann::json> FinishJson() {
    std::vector<nlohmann::json> out;
    for (const std::string& line : Finish()) out.push_back(nlohmann::json::parse(line));
    return out;
  }

  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  Pipe pipe_;
  std::unique_ptr<LineWriter> writer_;
  std::unique_ptr<RequestLog> log_;
};

TEST_F(RequestLogTest, AFinishedRequestIsOneLineWithEverythingAboutIt) {
  Start(LogFormat::kText);
  log_->Add(Done());
  const std::vector<std::string> lines = Finish();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(
      lines[0],
      EndsWith(
          " request] method=Generate protocol=grpc request_id=r-1 code=OK arm=control generation=3 "
          "policy=native finish_reason=eos prompt_tokens=5 completion_tokens=7 "
          "queue_seconds=0.001 ttft_seconds=0.02 total_seconds=2"));
}

TEST_F(RequestLogTest, ARefusedRequestHasNoArmAndNoTokens) {
  Start(LogFormat::kJson);
  log_->Add(Refused(absl::StatusCode::kInvalidArgument));
  const auto lines = FinishJson();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(lines[0]["request_id"], "r-2");
  for (const char* absent : {"arm", "policy", "generation", "finish_reason", "prompt_tokens"}) {
    EXPECT_FALSE(lines[0].contains(absent)) << absent;
  }
}

TEST_F(RequestLogTest, RefusalsAreLimitedByCodeAndTheirNumberIsTold) {
  Start(LogFormat::kJson);
  for (int i = 0; i < 1000; ++i) log_->Add(Refused(absl::StatusCode::kInvalidArgument));
  for (int i = 0; i < 5; ++i) log_->Add(Refused(absl::StatusCode::kResourceExhausted));
  log_->Add(Done());
  now_ += absl::Seconds(10);
  log_->Add(Done());
  const auto lines = FinishJson();
  std::vector<std::string> codes;
  for (const auto& line : lines) codes.push_back(line["code"]);
  EXPECT_EQ(codes, (std::vector<std::string>{"INVALID_ARGUMENT", "INVALID_ARGUMENT",
                                             "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "OK",
                                             "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "OK"}));
  EXPECT_EQ(lines[5]["message"], "refused requests");
  EXPECT_EQ(lines[5]["severity"], "WARNING");
  EXPECT_EQ(lines[5]["suppressed"], 998);
  EXPECT_EQ(lines[6]["suppressed"], 3);
}

TEST_F(RequestLogTest, TheEndTellsWhatIsStillSuppressed) {
  Start(LogFormat::kJson);
  for (int i = 0; i < 7; ++i) log_->Add(Refused(absl::StatusCode::kUnavailable));
  const auto lines = FinishJson();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[2]["suppressed"], 5);
}

TEST_F(RequestLogTest, AcceptedRequestsAreNeverLeftOut) {
  Start(LogFormat::kJson);
  engine::RequestOutcome cancelled = Done();
  cancelled.status = absl::CancelledError("");
  for (int i = 0; i < 100; ++i) log_->Add(cancelled);
  EXPECT_EQ(FinishJson().size(), 100u);
}

}  // namespace
}  // namespace olmoe::log
