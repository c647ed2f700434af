// The limits that every call is within, over real connections.
#include <grpcpp/client_context.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/caller.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr char kTokenize[] = "/olmoe.v1.InferenceService/Tokenize";

TestServerOptions WithMemory(int64_t bytes) {
  TestServerOptions options;
  options.limits.max_request_memory = bytes;
  return options;
}

grpc::Status Generate(TestServer* server) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  return server->inference().Generate(&context, TokenRequest({1, 2}, 3), &response);
}

// gRPC gives the last of it back a moment after the client has its answer.
void AwaitFreeMemory(TestServer* server) {
  while (server->limits().memory().used_bytes() > 0) absl::SleepFor(absl::Milliseconds(1));
}

std::string TokenizeBytes(size_t text_bytes) {
  v1::TokenizeRequest request;
  request.set_text(std::string(text_bytes, 'a'));
  return request.SerializeAsString();
}

TEST(BoundedCallTest, WhereMemoryIsInUseACallIsRefusedBeforeItsMessageIsRead) {
  TestServer server(WithMemory(64 * kMiB));
  limits::RequestMemory::Hold others = server.limits().memory().Open("others");
  others.Set(60 * kMiB);
  const grpc::Status refused = Generate(&server);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("--max-request-memory"));
  EXPECT_FALSE(refused.error_details().empty()) << "when to try again";
  // No message was ever sent, and the answer is there.
  GenericStream silent(server.NewChannel(), kTokenize);
  EXPECT_EQ(silent.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  server.AwaitOutcomes(1);
  EXPECT_EQ(server.outcomes()[0].code, absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(server.outcomes()[0].reached_engine);
  others = {};
  EXPECT_TRUE(Generate(&server).ok());
}

TEST(BoundedCallTest, ManySmallCallsAtOnceWaitForTheirTurnsAndAreAllServed) {
  TestServer server(WithMemory(64 * kMiB));  // two largest messages of one client
  std::vector<std::thread> clients;
  std::vector<int> codes(200);
  for (size_t i = 0; i < codes.size(); ++i) {
    clients.emplace_back([&server, code = &codes[i]] { *code = Generate(&server).error_code(); });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_THAT(codes, Each(static_cast<int>(grpc::StatusCode::OK)));
  AwaitFreeMemory(&server);
}

TEST(BoundedCallTest, CallsThatSendNoMessageMakeWayForThoseThatDo) {
  TestServer server(WithMemory(64 * kMiB));
  const auto channel = server.NewChannel();
  std::vector<std::unique_ptr<GenericStream>> silent;
  for (int i = 0; i < 20; ++i) {
    silent.push_back(std::make_unique<GenericStream>(channel, kTokenize));
  }
  EXPECT_TRUE(Generate(&server).ok());
  for (const auto& stream : silent) stream->Cancel();
  silent.clear();
  AwaitFreeMemory(&server);
}

TEST(BoundedCallTest, AnAnswerThatNobodyReadsIsGivenUp) {
  std::atomic<int64_t> hours = 0;
  TestServerOptions options;
  options.limits.answers.now = [&hours] { return absl::UnixEpoch() + absl::Hours(hours.load()); };
  TestServer server(options);
  GenericStream stream(server.NewChannel(), kTokenize);
  // The answer holds the text once more: beyond what a client takes without being asked.
  ASSERT_TRUE(stream.Write(TokenizeBytes(8 * kMiB)));
  while (server.limits().answers().empty()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_GT(server.limits().memory().used_bytes(), 8 * kMiB);
  hours = 1;
  AwaitFreeMemory(&server);
  std::string answer;
  EXPECT_FALSE(stream.Read(&answer));
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Generate(&server).ok());
}

TEST(BoundedCallTest, ARefusedMessageOfAScoreStreamLeavesTheStreamOpen) {
  TestServer server(WithMemory(64 * kMiB));
  grpc::ClientContext context;
  const auto stream = server.inference().ScoreStream(&context);
  v1::ScoreStreamRequest request;
  request.mutable_request()->set_request_id("large");
  request.mutable_request()->add_items()->set_continuation_text(std::string(4 * kMiB, 'a'));
  ASSERT_TRUE(stream->Write(request));
  v1::ScoreStreamResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.request_id(), "large");
  EXPECT_EQ(answer.error().code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
  request.mutable_request()->set_request_id("small");
  request.mutable_request()->mutable_items(0)->set_continuation_text("a");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.request_id(), "small");
  EXPECT_TRUE(answer.has_response());
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_TRUE(stream->Finish().ok());
  AwaitFreeMemory(&server);
}

TEST(BoundedCallTest, MemoryIsGivenBackHoweverACallEnds) {
  TestServer server;
  const auto channel = server.NewChannel();
  EXPECT_TRUE(Generate(&server).ok());
  EXPECT_FALSE(CallUnary(channel, kTokenize, "\xFF\xFF").status.ok());
  {
    GenericStream abandoned(channel, kTokenize);
  }
  {
    GenericStream half_closed(channel, kTokenize);
    half_closed.WritesDone();
    EXPECT_EQ(half_closed.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    GenericStream cancelled(channel, "/olmoe.v1.InferenceService/ScoreStream");
    cancelled.Cancel();
  }
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    v1::GenerateResponse response;
    server.model().Hold();
    EXPECT_EQ(server.inference().Generate(&context, TokenRequest({1}, 50), &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
    server.model().Unhold();
  }
  AwaitFreeMemory(&server);
}

TEST(BoundedCallTest, WhenPortsCloseCallsThatWaitOrComeAreUnavailable) {
  TestServer server;
  grpc::ClientContext context;
  const auto idle = server.inference().ScoreStream(&context);
  GenericStream silent(server.NewChannel(), kTokenize);
  while (server.limits().memory().used_bytes() < 32 * kMiB) absl::SleepFor(absl::Milliseconds(1));
  server.limits().Shut();
  EXPECT_EQ(idle->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(silent.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Generate(&server).error_code(), grpc::StatusCode::UNAVAILABLE);
  server.limits().AwaitCalls(absl::InfiniteFuture());
}

TEST(BoundedCallTest, WhenPortsCloseOpenConnectionsAreUnavailable) {
  TestServer server;
  server.model().Hold();
  grpc::ClientContext context;
  const auto stream = server.inference().GenerateStream(&context, TokenRequest({1}, 50));
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(stream->Read(&message));
  server.inference_server().Disconnect();
  while (stream->Read(&message)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Generate(&server).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(AddressOfPeerTest, IsTheAddressWithoutThePort) {
  EXPECT_EQ(AddressOfPeer("ipv4:127.0.0.1:4711"), "127.0.0.1");
  EXPECT_EQ(AddressOfPeer("ipv6:%5B::ffff:10.0.0.1%5D:4711"), "10.0.0.1");
  EXPECT_EQ(AddressOfPeer("ipv6:%5B2001:db8:1:2::5%5D:1"),
            AddressOfPeer("ipv6:[2001:db8:1:2::6]:2"));
  for (const char* unknown : {"", "unix:", "unix:/run/socket", "ipv4:", "inproc", ":", "::"}) {
    EXPECT_EQ(AddressOfPeer(unknown), "") << unknown;
  }
}

}  // namespace
}  // namespace olmoe::rpc
