#include <grpcpp/client_context.h>

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAreArray;

// A stream put together again.
struct Streamed {
  std::vector<v1::GenerateStreamResponse> messages;
  std::string text;
  std::vector<uint32_t> token_ids;
  grpc::Status status;
};

Streamed ReadAll(grpc::ClientReader<v1::GenerateStreamResponse>* reader) {
  Streamed out;
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    out.text += message.delta().text();
    out.token_ids.insert(out.token_ids.end(), message.delta().token_ids().begin(),
                         message.delta().token_ids().end());
    out.messages.push_back(message);
  }
  out.status = reader->Finish();
  return out;
}

TEST(GenerateStreamTest, DeltasAddUpToTheUnaryAnswer) {
  TestServer server;
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 20);
  request.set_logprobs(2);
  request.mutable_trace()->set_experts(true);
  v1::GenerateResponse unary;
  grpc::ClientContext first, second;
  ASSERT_TRUE(server.inference().Generate(&first, request, &unary).ok());
  const Streamed stream = ReadAll(server.inference().GenerateStream(&second, request).get());
  ASSERT_TRUE(stream.status.ok());
  EXPECT_EQ(stream.text, unary.text());
  EXPECT_THAT(stream.token_ids, ElementsAreArray(unary.token_ids()));

  ASSERT_GE(stream.messages.size(), 3u);
  ASSERT_TRUE(stream.messages.front().has_started());
  EXPECT_EQ(stream.messages.front().started().prompt_tokens(), 3u);
  EXPECT_EQ(stream.messages.front().started().routing().generation(), 1u);
  ASSERT_TRUE(stream.messages.back().has_done());
  const v1::GenerateResponse& done = stream.messages.back().done();
  EXPECT_EQ(done.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(done.usage().completion_tokens(), 20u);
  EXPECT_EQ(done.token_ids_size(), 0);
  EXPECT_EQ(done.text(), "");

  std::vector<uint32_t> tokens;
  std::string counts;
  for (const auto& message : stream.messages) {
    for (const v1::GeneratedToken& token : message.delta().tokens()) {
      tokens.push_back(token.token_id());
      EXPECT_EQ(token.top_size(), 2);
    }
    if (!message.delta().has_trace()) continue;
    EXPECT_EQ(message.delta().trace().first_position() * 2, counts.size());
    counts += message.delta().trace().counts();
  }
  EXPECT_EQ(tokens, stream.token_ids);
  EXPECT_EQ(counts, unary.trace().counts());
}

TEST(GenerateStreamTest, MetadataAndStartComeBeforeTheFirstToken) {
  TestServer server;
  server.model().Hold();
  grpc::ClientContext context;
  const auto reader = server.inference().GenerateStream(&context, TokenRequest({1}, 1));
  reader->WaitForInitialMetadata();
  EXPECT_EQ(context.GetServerInitialMetadata().count("x-olmoe-generation"), 1u);
  EXPECT_EQ(context.GetServerInitialMetadata().count("x-olmoe-arm"), 1u);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_TRUE(message.has_started());
  server.model().Unhold();
  EXPECT_TRUE(ReadAll(reader.get()).status.ok());
}

TEST(GenerateStreamTest, ARefusedRequestHasNoMessages) {
  TestServer server;
  grpc::ClientContext context;
  const Streamed stream =
      ReadAll(server.inference().GenerateStream(&context, TokenRequest({}, 0)).get());
  EXPECT_TRUE(stream.messages.empty());
  EXPECT_THAT(ViolatedFields(stream.status),
              ::testing::ElementsAre("tokens.ids", "max_new_tokens"));
}

TEST(GenerateStreamTest, WhatWasGeneratedBeforeAnErrorIsDelivered) {
  TestServerOptions options;
  options.model.nan_token = 66;
  options.model.script = {{1, 65}, {2, 66}};
  TestServer server(options);
  grpc::ClientContext context;
  const Streamed stream =
      ReadAll(server.inference().GenerateStream(&context, TokenRequest({1}, 9)).get());
  EXPECT_EQ(stream.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(stream.token_ids, ElementsAreArray({65u, 66u}));
}

// Traces of logits make a stream heavy: 64 layers x 128 experts x 4 bytes a token.
constexpr uint32_t kHeavyTokens = 250;  // 8 MB: more than what is taken of an unread stream

TestServerOptions HeavyStreams() {
  TestServerOptions options;
  options.model.num_layers = 64;
  options.model.num_experts = 128;
  options.engine.slow_reader_timeout = absl::InfiniteDuration();
  options.tune = [](Contexts* contexts) { contexts->inference.max_pending_bytes = 256 << 10; };
  return options;
}

v1::GenerateRequest HeavyRequest() {
  v1::GenerateRequest request = TokenRequest({1}, kHeavyTokens);
  request.mutable_trace()->set_logits(true);
  return request;
}

TEST(GenerateStreamTest, ACancelledStreamFreesItsPages) {
  TestServer server(HeavyStreams());
  grpc::ClientContext context;
  const auto reader = server.inference().GenerateStream(&context, HeavyRequest());
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  context.TryCancel();
  EXPECT_EQ(ReadAll(reader.get()).status.error_code(), grpc::StatusCode::CANCELLED);
  server.AwaitOutcomes(1);
  EXPECT_EQ(server.outcomes()[0].code, absl::StatusCode::kCancelled);
  EXPECT_EQ(server.engine().Status().kv_used_bytes, 0);
  EXPECT_EQ(server.controller().slot().InFlight(1), 0);
}

TEST(GenerateStreamTest, ASlowReaderIsPausedAndStopsNoOther) {
  TestServer server(HeavyStreams());
  grpc::ClientContext slow_context, fast_context;
  const auto slow = server.inference().GenerateStream(&slow_context, HeavyRequest());
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(slow->Read(&message));
  // The other one, on a connection of its own, gets more tokens than that meanwhile.
  const auto stub = v1::InferenceService::NewStub(server.NewChannel());
  const v1::GenerateRequest light = TokenRequest({2}, kHeavyTokens + 20);
  const Streamed fast = ReadAll(stub->GenerateStream(&fast_context, light).get());
  ASSERT_TRUE(fast.status.ok());
  EXPECT_EQ(fast.token_ids.size(), kHeavyTokens + 20);
  // The slow one was held back before its end; once it reads, it gets everything.
  const engine::EngineStatus status = server.engine().Status();
  ASSERT_EQ(status.requests.size(), 1u);
  EXPECT_LT(status.requests[0].completion_tokens, kHeavyTokens);
  const Streamed rest = ReadAll(slow.get());
  ASSERT_TRUE(rest.status.ok());
  EXPECT_EQ(rest.token_ids.size(), kHeavyTokens);
}

TEST(GenerateStreamTest, AReaderThatNeverReadsIsCutOff) {
  TestServerOptions options = HeavyStreams();
  options.engine.slow_reader_timeout = absl::Milliseconds(20);
  TestServer server(options);
  grpc::ClientContext context;
  const auto reader = server.inference().GenerateStream(&context, HeavyRequest());
  server.AwaitOutcomes(1);
  EXPECT_EQ(server.outcomes()[0].code, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server.engine().Status().kv_used_bytes, 0);
  EXPECT_FALSE(ReadAll(reader.get()).status.ok());
}

TEST(GenerateStreamTest, ManyStreamsAtOnceAreEachTheirOwn) {
  TestServer server;
  constexpr int kStreams = 24;
  std::vector<std::string> alone(kStreams), together(kStreams);
  const auto run = [&](int i, std::string* text) {
    grpc::ClientContext context;
    const auto request = TokenRequest({static_cast<uint32_t>(i), 7}, 30);
    const Streamed stream = ReadAll(server.inference().GenerateStream(&context, request).get());
    EXPECT_TRUE(stream.status.ok());
    for (const uint32_t id : stream.token_ids) *text += std::to_string(id) + " ";
  };
  for (int i = 0; i < kStreams; ++i) run(i, &alone[static_cast<size_t>(i)]);
  std::vector<std::thread> threads;
  for (int i = 0; i < kStreams; ++i) {
    threads.emplace_back(run, i, &together[static_cast<size_t>(i)]);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
}

}  // namespace
}  // namespace olmoe::rpc
