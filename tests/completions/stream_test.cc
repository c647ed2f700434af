#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/completions/test_port.h"

namespace olmoe::completions {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using testing::RawClient;

Json Request(const Json& prompt, int max_tokens) {
  return {{"prompt", prompt}, {"max_tokens", max_tokens}, {"seed", 5}};
}

Json Chunk(const std::string& event) { return Json::parse(event); }

TEST(CompletionStreamTest, TheChunksTogetherAreTheWholeReply) {
  TestPort port;
  for (const bool echo : {false, true}) {
    for (const bool logprobs : {false, true}) {
      for (const int n : {1, 3}) {
        Json request = Request({"hello", "w\u00f6rld", "a third one"}, 12);
        request["echo"] = echo;
        request["n"] = n;
        request["return_routed_experts"] = true;
        request["return_token_ids"] = true;
        if (logprobs) request["logprobs"] = 3;
        const Json whole = port.Complete(request).at("choices");
        EXPECT_EQ(TestPort::Joined(port.Stream(request)), whole);
      }
    }
  }
}

TEST(CompletionStreamTest, ItEndsWithTheReasonThenUsageThenDone) {
  TestPort port;
  Json request = Request("hello", 5);
  request["stream_options"] = {{"include_usage", true}};
  const std::vector<std::string> events = port.Stream(request);
  ASSERT_GE(events.size(), 3);
  EXPECT_EQ(events.back(), "[DONE]");
  const Json usage = Chunk(events[events.size() - 2]);
  EXPECT_TRUE(usage.at("choices").empty());
  EXPECT_EQ(usage.at("usage").at("completion_tokens"), 5);
  const Json last = Chunk(events[events.size() - 3]);
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason"), "length");
  const std::string id = usage.at("id");
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const Json chunk = Chunk(events[i]);
    EXPECT_EQ(chunk.at("id"), id);
    const bool is_end = i == 0 || i + 2 == events.size();
    EXPECT_EQ(chunk.contains("routing"), is_end) << i;
    if (i + 2 < events.size()) {
      EXPECT_TRUE(chunk.at("usage").is_null());
    }
    if (i + 3 < events.size()) {
      EXPECT_TRUE(chunk.at("choices").at(0).at("finish_reason").is_null());
    }
  }
}

TEST(CompletionStreamTest, WithoutUsageTheLastChunkHasTheReasonAndTheStamp) {
  TestPort port;
  const std::vector<std::string> events = port.Stream(Request("hello", 5));
  const Json last = Chunk(events[events.size() - 2]);
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_TRUE(last.contains("routing"));
  EXPECT_FALSE(last.contains("usage"));
}

TEST(CompletionStreamTest, AClientThatGoesIsCancelledWithinAStep) {
  TestPort port;
  port.model().Hold();
  {
    RawClient client = port.Client();
    Json request = Request("hello", 500);
    request["stream"] = true;
    ASSERT_TRUE(client.Send(PostRequest("/v1/completions", request.dump())));
    EXPECT_EQ(client.Read().status, 200);
    port.model().Allow(2);
    EXPECT_THAT(client.ReadChunk(), HasSubstr("data: "));
  }
  // One step computes while the news comes.
  while (port.outcomes().empty()) {
    port.model().Allow(1);
    EXPECT_EQ(port.Get("/health").status, 200);
  }
  EXPECT_EQ(port.outcomes()[0].code, absl::StatusCode::kCancelled);
  EXPECT_LT(port.model().counters().steps, 250);
}

TEST(CompletionStreamTest, AReaderThatDoesNotReadPausesTheEngineAndLosesNothing) {
  TestPortOptions options;
  options.model.max_context = 8192;
  options.model.num_pages = 4096;
  TestPort port(options);
  Json request = Request(Json(std::vector<int>(100, 'a')), 4000);
  request["logprobs"] = 20;
  request["temperature"] = 0;
  const Json whole = port.Complete(request).at("choices");
  request["stream"] = true;
  RawClient client(port.server().port(), "127.0.0.1", /*receive_buffer_bytes=*/4096);
  ASSERT_TRUE(client.Send(PostRequest("/v1/completions", request.dump())));
  EXPECT_EQ(client.Read().status, 200);
  // All that the sockets and the stream can hold is computed, and then nothing more.
  int steps = 0;
  TestPort::Await([&] {
    const int before = std::exchange(steps, port.model().counters().steps);
    absl::SleepFor(absl::Milliseconds(50));
    return before == port.model().counters().steps && before > 4000;
  });
  EXPECT_LT(steps, 8000);
  EXPECT_EQ(port.engine().Status().running_requests, 1);
  std::string all;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
    all += chunk;
  }
  std::vector<std::string> events;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = all.find("\n\n", begin);
    events.push_back(all.substr(begin + 6, end - begin - 6));
    begin = end + 2;
  }
  EXPECT_EQ(TestPort::Joined(events), whole);
}

TEST(CompletionStreamTest, AnErrorInsideIsAnEventAndEndsIt) {
  TestPortOptions options;
  options.model.nan_token = 'N';
  options.model.script = {{8, 'N'}};
  TestPort port(options);
  const std::vector<std::string> events = port.Stream(Request("hello", 20));
  ASSERT_GE(events.size(), 2);
  const Json error = Chunk(events.back());
  EXPECT_EQ(error.at("error").at("type"), "server_error");
  EXPECT_TRUE(Chunk(events.front()).contains("choices"));
}

TEST(CompletionStreamTest, AnErrorBeforeItIsAnAnswer) {
  TestPort port;
  Json request = Request("hello", 5000);
  request["stream"] = true;
  const TestPort::Error error = port.Refusal(request);
  EXPECT_EQ(error.status, 400);
  EXPECT_EQ(error.code, "context_length_exceeded");
}

}  // namespace
}  // namespace olmoe::completions
