#include "server/http/stream.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "server/http/http_server.h"
#include "tests/http/raw_client.h"
#include "tests/support/temp_folder.h"

namespace olmoe::http {
namespace {

using testing::Answer;
using testing::GetRequest;
using testing::RawClient;

TEST(StreamTest, TheFirstPushSinceATakeWakes) {
  int wakes = 0;
  Stream stream(nullptr);
  EXPECT_TRUE(stream.Push("before "));
  stream.Attach([&] { ++wakes; });
  EXPECT_TRUE(stream.Push("a"));
  EXPECT_TRUE(stream.Push("b"));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(stream.Take().data, "before ab");
  EXPECT_EQ(stream.Take().data, "");
  stream.Push("c");
  EXPECT_EQ(wakes, 2);
  stream.Finish();
  EXPECT_FALSE(stream.Push("d"));
  const Stream::Piece piece = stream.Take();
  EXPECT_EQ(piece.data, "c");
  EXPECT_TRUE(piece.last);
}

TEST(StreamTest, WhatWaitsIsBounded) {
  Stream stream(nullptr);
  EXPECT_TRUE(stream.Push(std::string(Stream::kMaxWaitingBytes, 'x')));
  EXPECT_FALSE(stream.Push("y"));
  EXPECT_FALSE(stream.Push(""));
  EXPECT_TRUE(stream.Take().overrun);
}

TEST(StreamTest, WhatThereIsRoomForIsPushedAndTheRestIsAskedFor) {
  int taken = 0;
  Stream stream(nullptr, [&] { ++taken; });
  EXPECT_EQ(stream.PushSome(std::string(Stream::kMaxWaitingBytes - 1, 'x')),
            Stream::kMaxWaitingBytes - 1);
  EXPECT_EQ(stream.PushSome("yz"), 1);
  EXPECT_EQ(stream.PushSome("z"), 0);
  EXPECT_EQ(taken, 0);
  const Stream::Piece piece = stream.Take();
  EXPECT_FALSE(piece.overrun);
  EXPECT_EQ(piece.data.back(), 'y');
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(stream.PushSome("z"), 1);
  stream.Finish();
  EXPECT_EQ(stream.Take().data, "z");
  EXPECT_EQ(stream.PushSome("more"), 0);
  EXPECT_EQ(stream.Take().data, "");
  EXPECT_EQ(taken, 2);
}

TEST(StreamTest, TheReadersEndIsToldOnceAndOnlyWhereItIsEarly) {
  int gone = 0;
  Stream early([&] { ++gone; }), written([&] { ++gone; });
  early.Detach(false);
  early.Detach(false);
  written.Detach(true);
  EXPECT_EQ(gone, 1);
  EXPECT_FALSE(early.Push("x"));
}

// A server whose route /stream sends what a test pushes.
class StreamServerTest : public ::testing::Test {
 protected:
  StreamServerTest() {
    HttpServer::Options options{.listener = net::Listener::Bind("127.0.0.1:0").value()};
    options.routes.push_back({"GET", "/stream", [this](const Request&, Reply reply) {
                                Response response;
                                response.fields = {{"Content-Type", "text/event-stream"}};
                                response.stream = stream_;
                                reply.Send(std::move(response));
                              }});
    options.routes.push_back({"GET", "/small", [](const Request&, Reply reply) {
                                reply.Send(TextResponse(200, "small", "text/plain"));
                              }});
    server_ = HttpServer::Create(std::move(options)).value();
  }

  absl::Notification gone_;
  const std::shared_ptr<Stream> stream_ = std::make_shared<Stream>([this] { gone_.Notify(); });
  std::unique_ptr<HttpServer> server_;
};

TEST_F(StreamServerTest, WhatIsPushedArrivesInChunksAndTheConnectionIsKept) {
  RawClient client(server_->port());
  ASSERT_TRUE(client.Send(GetRequest("/stream") + GetRequest("/small")));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.Header("Transfer-Encoding"), "chunked");
  EXPECT_EQ(answer.Header("Content-Length"), "");
  std::string all, sent;
  const auto receive = [&] {
    while (all.size() < sent.size()) all += client.ReadChunk();
    EXPECT_EQ(all, sent);
  };
  for (int i = 0; i < 50; ++i) {
    sent += absl::StrCat("data: ", i, "\n\n");
    ASSERT_TRUE(stream_->Push(absl::StrCat("data: ", i, "\n\n")));
    if (i % 7 == 0) receive();
  }
  stream_->Finish();
  receive();
  EXPECT_EQ(client.ReadChunk(), "");
  EXPECT_EQ(client.Read().body, "small");
  EXPECT_FALSE(gone_.HasBeenNotified());
}

TEST_F(StreamServerTest, AnOldClientReadsToTheEndOfTheConnection) {
  RawClient client(server_->port());
  ASSERT_TRUE(client.Send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.Header("Connection"), "close");
  EXPECT_EQ(answer.Header("Transfer-Encoding"), "");
  stream_->Push("all");
  stream_->Finish();
  std::string rest;
  EXPECT_TRUE(client.ReadToEnd(&rest));
  EXPECT_EQ(rest, "all");
}

TEST_F(StreamServerTest, TheClientOfASilentStreamIsSeenToGo) {
  {
    RawClient client(server_->port());
    ASSERT_TRUE(client.Send(GetRequest("/stream")));
    EXPECT_EQ(client.Read().status, 200);
    ASSERT_TRUE(client.Send("GET /sma"));  // what it sends ahead hides nothing
  }
  gone_.WaitForNotification();
  EXPECT_FALSE(stream_->Push("x"));
}

TEST_F(StreamServerTest, AReaderWhoDoesNotKeepUpLosesTheStream) {
  RawClient client(server_->port(), "127.0.0.1", /*receive_buffer_bytes=*/4096);
  ASSERT_TRUE(client.Send(GetRequest("/stream")));
  EXPECT_EQ(client.Read().status, 200);
  while (stream_->Push(std::string(1000, 'x'))) std::this_thread::yield();
  gone_.WaitForNotification();
}

TEST_F(StreamServerTest, StopEndsStreams) {
  RawClient client(server_->port());
  ASSERT_TRUE(client.Send(GetRequest("/stream")));
  EXPECT_EQ(client.Read().status, 200);
  server_->Stop();
  EXPECT_TRUE(gone_.HasBeenNotified());
  EXPECT_FALSE(stream_->Push("x"));
  EXPECT_TRUE(client.ReadToEnd());
}

TEST_F(StreamServerTest, OfHeadThereIsNoStream) {
  RawClient client(server_->port());
  ASSERT_TRUE(client.Send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client.Read(/*without_body=*/true).status, 200);
  gone_.WaitForNotification();
  EXPECT_EQ(client.Get("/small").body, "small");
}

TEST(HttpGateTest, ATokenIsAskedForBeforeTheBody) {
  testing::TempFolder folder;
  constexpr char kToken[] = "0123456789abcdef", kOther[] = "fedcba9876543210";
  const auto tokens = [&](const char* name, const char* token) {
    return std::shared_ptr<access::TokenFile>(
        access::TokenFile::Open(folder.Write(name, token)).value());
  };
  HttpServer::Options options{.listener = net::Listener::Bind("127.0.0.1:0").value()};
  options.gate = std::make_shared<access::Gate>(
      access::Gate::Options{.port_name = "completions",
                            .opening = {tokens("tokens", absl::StrCat("ann:", kToken).c_str())},
                            .of_other_ports = {tokens("others", kOther)}});
  const Handler ok = [](const Request& request, Reply reply) {
    reply.Send(TextResponse(200, request.body, "text/plain"));
  };
  options.routes = {
      {"POST", "/work", ok, 1 << 20},
      {"GET", "/health", ok, 0, true},
      {"GET", "/who", [](const Request& request, Reply reply) {
         reply.Send(TextResponse(200, request.principal + "@" + request.address, "text/plain"));
       }}};
  const auto server = HttpServer::Create(std::move(options)).value();

  const auto status_of = [&](const std::string& fields) {
    RawClient client(server->port());
    client.Send(
        absl::StrCat("POST /work HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                     "Content-Length: 2\r\n",
                     fields, "\r\n"));
    Answer answer = client.Read();
    if (answer.status == 100) {
      client.Send("ab");
      answer = client.Read();
    }
    EXPECT_EQ(answer.Header("WWW-Authenticate"), answer.status == 401 ? "Bearer" : "");
    return answer.status;
  };
  EXPECT_EQ(status_of(absl::StrCat("Authorization: Bearer ", kToken, "\r\n")), 200);
  EXPECT_EQ(status_of(""), 401);
  EXPECT_EQ(status_of("Authorization: Bearer 0000000000000000\r\n"), 401);
  EXPECT_EQ(status_of(absl::StrCat("Authorization: Bearer ", kOther, "\r\n")), 403);
  EXPECT_EQ(status_of(absl::StrCat("Authorization: Bearer ", kToken, "\r\n",
                                   "authorization: Bearer ", kToken, "\r\n")),
            401);
  EXPECT_EQ(RawClient(server->port()).Get("/health").status, 200);
  EXPECT_EQ(RawClient(server->port(), "127.0.0.9")
                .Get("/who", absl::StrCat("Authorization: Bearer ", kToken, "\r\n"))
                .body,
            "ann@127.0.0.9");
}

}  // namespace
}  // namespace olmoe::http
