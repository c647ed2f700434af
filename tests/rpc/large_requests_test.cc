// Requests that are prepared on the pool, through the services.
#include "server/rpc/bounded_call.h"

#include <grpcpp/client_context.h>

#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

std::string LargeText() { return std::string(2 * kLargeRequestBytes, 'a'); }

v1::ScoreRequest ScoreOf(const std::string& text) {
  v1::ScoreRequest request;
  request.set_request_id("score");
  request.add_items()->set_continuation_text(text);
  return request;
}

// The only thread is taken, and one request may wait.
class BusyPoolTest : public ::testing::Test {
 protected:
  BusyPoolTest() {
    absl::Notification began;
    server_.large_requests().Run({.client = "another",
                                  .interrupt = {},
                                  .run =
                                      [&] {
                                        began.Notify();
                                        may_end_.WaitForNotification();
                                      },
                                  .refuse = [](const absl::Status& status) { FAIL() << status; }});
    began.WaitForNotification();
  }
  ~BusyPoolTest() override { may_end_.Notify(); }

  static TestServerOptions Options() {
    TestServerOptions options;
    options.large_requests = {.threads = 1, .max_waiting = 1};
    return options;
  }

  void FillQueue() {
    server_.large_requests().Run(
        {.client = "waits", .interrupt = {}, .run = [] {}, .refuse = [](const absl::Status&) {}});
  }

  absl::Notification may_end_;
  TestServer server_{Options()};
};

void ExpectRefused(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(HasRetryInfo(status));
}

TEST_F(BusyPoolTest, LargeRequestsAreRefusedAndSmallOnesAnswered) {
  FillQueue();
  {
    v1::TokenizeRequest request;
    request.set_text(LargeText());
    v1::TokenizeResponse response;
    grpc::ClientContext context;
    ExpectRefused(server_.inference().Tokenize(&context, request, &response));
  }
  {
    v1::GenerateResponse response;
    grpc::ClientContext context;
    ExpectRefused(server_.inference().Generate(&context, TextRequest(LargeText(), 1), &response));
  }
  {
    v1::GenerateStreamResponse response;
    grpc::ClientContext context;
    const auto stream = server_.inference().GenerateStream(&context, TextRequest(LargeText(), 1));
    EXPECT_FALSE(stream->Read(&response));
    ExpectRefused(stream->Finish());
  }
  {
    v1::ScoreResponse response;
    grpc::ClientContext context;
    ExpectRefused(server_.inference().Score(&context, ScoreOf(LargeText()), &response));
  }
  {
    v1::GenerateResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(server_.inference().Generate(&context, TextRequest("a", 1), &response).ok());
  }
  EXPECT_EQ(server_.outcomes().size(), 4u);  // all but Tokenize's
}

TEST_F(BusyPoolTest, RefusalInAStreamOfScoresIsThatRequestsAlone) {
  FillQueue();
  grpc::ClientContext context;
  const auto stream = server_.inference().ScoreStream(&context);
  v1::ScoreStreamRequest request;
  *request.mutable_request() = ScoreOf(LargeText());
  v1::ScoreStreamResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.request_id(), "score");
  EXPECT_EQ(response.error().code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
  *request.mutable_request() = ScoreOf("ab");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.has_response());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(BusyPoolTest, CancelledRequestLeavesTheQueueWhileNothingElseHappens) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  std::thread client([&] {
    EXPECT_EQ(
        server_.inference().Generate(&context, TextRequest(LargeText(), 1), &response).error_code(),
        grpc::StatusCode::CANCELLED);
  });
  while (server_.large_requests().num_waiting() == 0) absl::SleepFor(absl::Milliseconds(1));
  context.TryCancel();
  server_.AwaitOutcomes(1);
  EXPECT_EQ(server_.large_requests().num_waiting(), 0u);
  client.join();
  ASSERT_EQ(server_.outcomes().size(), 1u);
  EXPECT_EQ(server_.outcomes()[0].code, absl::StatusCode::kCancelled);
  EXPECT_FALSE(server_.outcomes()[0].reached_engine);
}

}  // namespace
}  // namespace olmoe::rpc
