#include <grpcpp/client_context.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;

v1::ScoreStreamRequest Request(const std::string& id, uint32_t token, int continuation = 1) {
  v1::ScoreStreamRequest message;
  message.mutable_request()->set_request_id(id);
  v1::ScoreItem* item = message.mutable_request()->add_items();
  item->mutable_context_tokens()->add_ids(token);
  for (int i = 0; i < continuation; ++i) item->mutable_continuation_tokens()->add_ids(2);
  return message;
}

TEST(ScoreStreamTest, EveryRequestIsAnsweredAsByScore) {
  TestServer server;
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  constexpr int kRequests = 200;
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) {
      EXPECT_TRUE(stream->Write(Request(absl::StrCat(i), static_cast<uint32_t>(i))));
    }
    stream->WritesDone();
  });
  std::map<std::string, double> sums;
  v1::ScoreStreamResponse message;
  while (stream->Read(&message)) {
    ASSERT_TRUE(message.has_response()) << message.DebugString();
    EXPECT_EQ(message.response().request_id(), message.request_id());
    EXPECT_EQ(message.response().routing().generation(), 1u);
    EXPECT_TRUE(
        sums.emplace(message.request_id(), message.response().results(0).logprob_sum()).second);
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(sums.size(), static_cast<size_t>(kRequests));
  for (const int i : {0, 17, kRequests - 1}) {
    grpc::ClientContext single;
    v1::ScoreResponse response;
    ASSERT_TRUE(server.inference()
                    .Score(&single, Request("x", static_cast<uint32_t>(i)).request(), &response)
                    .ok());
    EXPECT_EQ(sums[absl::StrCat(i)], response.results(0).logprob_sum());
  }
}

TEST(ScoreStreamTest, AnswersComeWhenTheyAreReadyAndNotInOrder) {
  TestServer server;
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  server.model().Hold();
  ASSERT_TRUE(stream->Write(Request("held", 1)));
  server.model().AwaitStepBegun(1);
  ASSERT_TRUE(stream->Write(Request("refused", 999)));
  v1::ScoreStreamResponse message;
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.request_id(), "refused");
  server.model().Unhold();
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.request_id(), "held");
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(ScoreStreamTest, ABadRequestIsAnsweredAndTheStreamGoesOn) {
  TestServer server;
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  v1::ScoreStreamRequest bad = Request("bad", 999);
  bad.mutable_request()->set_top(21);
  v1::ScoreStreamRequest forbidden = Request("forbidden", 1);
  forbidden.mutable_request()->mutable_routing()->set_arm_id("nobody");
  ASSERT_TRUE(stream->Write(bad));
  ASSERT_TRUE(stream->Write(forbidden));
  ASSERT_TRUE(stream->Write(Request("good", 1)));
  stream->WritesDone();
  std::map<std::string, v1::ScoreStreamResponse> answers;
  v1::ScoreStreamResponse message;
  while (stream->Read(&message)) answers[message.request_id()] = message;
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers["bad"].error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ViolatedFields(answers["bad"].error()),
              ElementsAre("top", "items[0].context_tokens.ids[0]"));
  EXPECT_EQ(answers["forbidden"].error().code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ErrorInfoOf(answers["forbidden"].error()).reason(), "ARM_NOT_ALLOWED");
  EXPECT_TRUE(answers["good"].has_response());
}

TEST(ScoreStreamTest, BytesThatAreNoMessageDoNotEndTheStream) {
  TestServer server;
  GenericStream stream(server.NewChannel(), "/olmoe.v1.InferenceService/ScoreStream");
  ASSERT_TRUE(stream.Write("\xFF\xFF"));
  ASSERT_TRUE(stream.Write(Request("good", 1).SerializeAsString()));
  stream.WritesDone();
  std::set<bool> errors;
  std::string bytes;
  while (stream.Read(&bytes)) {
    v1::ScoreStreamResponse message;
    ASSERT_TRUE(message.ParseFromString(bytes));
    errors.insert(message.has_error());
  }
  EXPECT_EQ(errors.size(), 2u);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ScoreStreamTest, AnUnprintableRequestIdIsNotSentBack) {
  TestServer server;
  GenericStream stream(server.NewChannel(), "/olmoe.v1.InferenceService/ScoreStream");
  const std::string request = std::string("\x0A\x01\xFF", 3);  // request_id, ill-formed
  ASSERT_TRUE(stream.Write(std::string("\x0A\x03") + request));
  std::string bytes;
  ASSERT_TRUE(stream.Read(&bytes));
  v1::ScoreStreamResponse message;
  ASSERT_TRUE(message.ParseFromString(bytes));
  EXPECT_EQ(message.request_id(), "");
  EXPECT_THAT(ViolatedFields(message.error()), ElementsAre("request.request_id"));
  stream.WritesDone();
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ScoreStreamTest, OnlySoManyRequestsAreTakenAtATime) {
  TestServerOptions options;
  options.tune = [](Contexts* contexts) { contexts->inference.max_stream_requests = 3; };
  TestServer server(options);
  server.model().Hold();
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(stream->Write(Request(absl::StrCat(i), 1)));
  stream->WritesDone();
  while (server.engine().Status().requests.size() < 3) std::this_thread::yield();
  int answers = 0;
  size_t most = 0;
  v1::ScoreStreamResponse message;
  // One step at a time: what the engine has is looked at while it stands still.
  for (int step = 1; answers < 10; ++step) {
    server.model().AwaitStepBegun(step);
    most = std::max(most, server.engine().Status().requests.size());
    server.model().Allow(1);
    ASSERT_TRUE(stream->Read(&message));
    ++answers;
    if (step == 3) break;
  }
  server.model().Unhold();
  while (stream->Read(&message)) ++answers;
  EXPECT_EQ(answers, 10);
  EXPECT_LE(most, 3u);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(ScoreStreamTest, CancellingTheStreamCancelsItsRequests) {
  TestServer server;
  server.model().Hold();
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stream->Write(Request(absl::StrCat(i), 1, 100)));
  while (server.engine().Status().requests.size() < 5) std::this_thread::yield();
  context.TryCancel();
  v1::ScoreStreamResponse message;
  while (stream->Read(&message)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server.model().Unhold();
  server.AwaitOutcomes(5);
  EXPECT_EQ(server.engine().Status().kv_used_bytes, 0);
  EXPECT_EQ(server.controller().slot().InFlight(1), 0);
}

TEST(ScoreStreamTest, AnEmptyStreamEndsWell) {
  TestServer server;
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  stream->WritesDone();
  v1::ScoreStreamResponse message;
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(ScoreStreamTest, RequestsOfOneStreamFollowAPatch) {
  TestServer server;
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  v1::ScoreStreamResponse message;
  ASSERT_TRUE(stream->Write(Request("before", 1)));
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.response().routing().generation(), 1u);
  grpc::ClientContext admin;
  v1::PatchRoutersResponse patched;
  ASSERT_TRUE(server.admin().PatchRouters(&admin, TopKPatch(5), &patched).ok());
  ASSERT_TRUE(stream->Write(Request("after", 1)));
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.response().routing().generation(), 2u);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace olmoe::rpc
