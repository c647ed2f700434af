#include "server/http/http_server.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iterator>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "tests/http/raw_client.h"
#include "tests/support/temp_folder.h"

namespace olmoe::http {
namespace {

using std::chrono::milliseconds;
using testing::Answer;
using testing::GetRequest;
using testing::RawClient;

constexpr size_t kLargeBytes = 4 << 20;
constexpr milliseconds kNever(1'000'000);  // longer than any test

// Replies that a test gives when it wants to.
class HeldReplies {
 public:
  void Add(Reply reply) {
    absl::MutexLock lock(&mu_);
    replies_.push_back(std::move(reply));
  }
  void Await(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [this, count] { return replies_.size() >= count; };
    mu_.Await(absl::Condition(&enough));
  }
  std::vector<Reply> Take() {
    absl::MutexLock lock(&mu_);
    return std::exchange(replies_, {});
  }

 private:
  absl::Mutex mu_;
  std::vector<Reply> replies_;
};

// The descriptors of this process: both ends of every connection, and what does not change.
size_t OpenFiles() {
  const std::filesystem::directory_iterator files("/proc/self/fd"), end;
  return static_cast<size_t>(std::distance(files, end));
}

// Time ends nothing by itself.
ConnectionLimits PatientLimits() {
  return {.max_connections = 50,
          .max_connections_per_client = 50,
          .handshake = kNever,
          .idle = kNever,
          .request = kNever,
          .answer = kNever,
          .linger = kNever};
}

class HttpServerTest : public ::testing::Test {
 protected:
  std::vector<Route> Routes() {
    return {
        {"GET", "/small",
         [](const Request&, Reply reply) { reply.Send(TextResponse(200, "small", "text/plain")); }},
        {"GET", "/large",
         [](const Request&, Reply reply) {
           reply.Send(TextResponse(200, std::string(kLargeBytes, 'x'), "text/plain"));
         }},
        {"GET", "/held", [this](const Request&, Reply reply) { held_.Add(std::move(reply)); }},
        {"POST", "/held", [this](const Request&, Reply reply) { held_.Add(std::move(reply)); },
         1 << 20},
        {"GET", "/throws", [](const Request&, Reply) { throw std::runtime_error("a slip"); }},
        {"POST", "/echo",
         [](const Request& request, Reply reply) {
           Response response = TextResponse(200, request.body, "text/plain");
           response.fields.emplace_back("X-Query", request.query);
           response.fields.emplace_back("X-Evil", "a\r\nX-Injected: yes");
           reply.Send(std::move(response));
         },
         1 << 20},
        {"PUT", "/echo", [](const Request&, Reply) {}},  // drops the reply
        {"GET", "/watched",
         [this](const Request&, Reply reply) {
           reply.OnGone([this] { gone_.Notify(); });
           held_.Add(std::move(reply));
         }},
        {"GET", "/named/", NameOf, 0, false, true},
        {"GET", "/named/twice/", NameOf, 0, false, true},
        {"GET", "/named/exact", NameOf}};
  }

  static void NameOf(const Request& request, Reply reply) {
    reply.Send(TextResponse(200, request.path, "text/plain"));
  }

  void Start(const ConnectionLimits& limits = PatientLimits(),
             const std::string& address = "127.0.0.1:0") {
    auto listener = net::Listener::Bind(address);
    ASSERT_TRUE(listener.ok()) << listener.status();
    auto server = HttpServer::Create(
        {.listener = *std::move(listener), .routes = Routes(), .limits = limits});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  RawClient Client(const char* source = "127.0.0.1") { return RawClient(server_->port(), source); }

  // A client whose answer to a large request stays unread.
  RawClient UnreadClient(const char* source = "127.0.0.1") {
    RawClient client(server_->port(), source, /*receive_buffer_bytes=*/4096);
    EXPECT_EQ(client.Get("/small").status, 200);
    EXPECT_TRUE(client.Send(GetRequest("/large")));
    return client;
  }

  // One that was answered. Where the server's times are short, a busy machine may need a few.
  RawClient ServedClient() {
    for (;;) {
      RawClient client = Client();
      if (client.Get("/small").status == 200) return client;
    }
  }

  // A new client gets its answer.
  void ExpectServes(const char* source = "127.0.0.1") {
    EXPECT_EQ(Client(source).Get("/small").body, "small");
  }

  HeldReplies held_;
  absl::Notification gone_;  // the client of /watched
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AConnectionIsKeptForOneRequestAfterTheOther) {
  Start();
  RawClient client = Client();
  for (int i = 0; i < 3; ++i) {
    const Answer answer = client.Get("/small");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "small");
    EXPECT_EQ(answer.Header("Content-Type"), "text/plain");
    EXPECT_EQ(answer.Header("Connection"), "");
  }
  const Answer last = client.Get("/small", "Connection: close\r\n");
  EXPECT_EQ(last.body, "small");
  EXPECT_EQ(last.Header("Connection"), "close");
  EXPECT_TRUE(client.ReadToEnd());
}

TEST_F(HttpServerTest, AnOldClientsConnectionIsKeptWhereItAsks) {
  Start();
  RawClient client = Client();
  ASSERT_TRUE(client.Send("GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  EXPECT_EQ(client.Read().Header("Connection"), "keep-alive");
  ASSERT_TRUE(client.Send("GET /small HTTP/1.0\r\n\r\n"));
  EXPECT_EQ(client.Read().Header("Connection"), "close");
  EXPECT_TRUE(client.ReadToEnd());
}

TEST_F(HttpServerTest, RequestsThatAreSentAheadAreAnsweredInOrder) {
  Start();
  RawClient client = Client();
  std::string requests;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&requests, "POST /echo?", i,
                    " HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
  }
  ASSERT_TRUE(client.Send(requests));
  for (int i = 0; i < 100; ++i) {
    const Answer answer = client.Read();
    EXPECT_EQ(answer.body, "abc");
    EXPECT_EQ(answer.Header("X-Query"), absl::StrCat(i));
  }
}

TEST_F(HttpServerTest, ARequestMayComeAByteAtATime) {
  Start();
  RawClient client = Client();
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n";
  for (int i = 0; i < 2; ++i) {
    for (const char byte : request) ASSERT_TRUE(client.Send(std::string(1, byte)));
    EXPECT_EQ(client.Read().body, "abc");
  }
}

TEST_F(HttpServerTest, HeadIsAnsweredAsGetWithoutTheBody) {
  Start();
  RawClient client = Client();
  ASSERT_TRUE(client.Send("HEAD /small HTTP/1.1\r\nHost: a\r\n\r\n"));
  const Answer head = client.Read(/*without_body=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.Header("Content-Length"), "5");
  EXPECT_EQ(client.Get("/small").body, "small");
}

TEST_F(HttpServerTest, OtherPathsAndMethodsAreRefusedAndTheConnectionIsKept) {
  Start();
  RawClient client = Client();
  EXPECT_EQ(client.Get("/nothing").status, 404);
  EXPECT_EQ(client.Get("/small/").status, 404);
  EXPECT_EQ(client.Get("/Small").status, 404);
  ASSERT_TRUE(client.Send("DELETE /small HTTP/1.1\r\nHost: a\r\n\r\n"));
  const Answer refused = client.Read();
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(refused.Header("Allow"), "GET, HEAD");
  ASSERT_TRUE(client.Send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client.Read().Header("Allow"), "POST, PUT");
  EXPECT_EQ(client.Get("/small").body, "small");
}

// Closing at once would make the client's kernel throw the answer away.
TEST_F(HttpServerTest, ABodyThatNobodyTakesIsRefusedAndTheAnswerArrives) {
  Start();
  const std::string body(2 << 20, 'x');
  const auto status_of = [&](const std::string& line) {
    RawClient client = Client();
    client.Send(absl::StrCat(line, " HTTP/1.1\r\nHost: a\r\nContent-Length: ", body.size(),
                             "\r\n\r\n", body));
    const Answer answer = client.Read();
    EXPECT_EQ(answer.Header("Connection"), "close");
    return answer.status;
  };
  EXPECT_EQ(status_of("GET /small"), 413);
  EXPECT_EQ(status_of("POST /echo"), 413);
  EXPECT_EQ(status_of("POST /small"), 405);
  EXPECT_EQ(status_of("POST /nothing"), 404);
  EXPECT_EQ(status_of("G@T /small"), 400);
  ExpectServes();
}

TEST_F(HttpServerTest, WhatIsMalformedIsRefusedAndTheConnectionEnds) {
  Start();
  const std::vector<std::pair<int, std::string>> requests = {
      {400, "GET /small HTTP/1.1\r\n\r\n"},
      {400, "GET /small HTTP/1.1\nHost: a\n\n"},
      {400, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
      {431, GetRequest("/small", absl::StrCat("X: ", std::string(17 << 10, 'x'), "\r\n"))},
      {414, GetRequest(absl::StrCat("/", std::string(9 << 10, 'x')))},
      {400, "GET /small HTTP/2.0\r\nHost: a\r\n\r\n"},
      {431, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
                std::string(40 << 10, 'x')},
  };
  for (const auto& [status, request] : requests) {
    RawClient client = Client();
    client.Send(request + GetRequest("/small"));
    const Answer answer = client.Read();
    EXPECT_EQ(answer.status, status) << request.substr(0, 100);
    std::string rest;
    EXPECT_TRUE(client.ReadToEnd(&rest));
    EXPECT_EQ(rest, "") << request.substr(0, 100);
  }
}

TEST_F(HttpServerTest, AClientThatAsksWhetherTheBodyMayComeIsTold) {
  Start();
  RawClient client = Client();
  const std::string header =
      "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  ASSERT_TRUE(client.Send(header));
  EXPECT_EQ(client.Read().status, 100);
  ASSERT_TRUE(client.Send("abc"));
  EXPECT_EQ(client.Read().body, "abc");
  ASSERT_TRUE(client.Send(header + "abc"));  // one that does not wait is not told
  EXPECT_EQ(client.Read().body, "abc");
  EXPECT_EQ(client.Get("/small", "Expect: miracles\r\n").status, 417);
  EXPECT_EQ(client.Get("/small", "Content-Encoding: gzip\r\n").status, 415);
  EXPECT_EQ(client.Get("/small", "Content-Encoding: identity\r\n").status, 200);
  ASSERT_TRUE(
      client.Send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                  "Content-Length: 10000000\r\n\r\n"));
  EXPECT_EQ(client.Read().status, 413);
}

TEST_F(HttpServerTest, AnEchoedValueCannotAddAField) {
  Start();
  RawClient client = Client();
  ASSERT_TRUE(client.Send("POST /echo?a HTTP/1.1\r\nHost: a\r\n\r\n"));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.Header("X-Query"), "a");
  EXPECT_EQ(answer.Header("X-Evil"), "");
  EXPECT_EQ(answer.Header("X-Injected"), "");
}

TEST_F(HttpServerTest, AHandlerThatThrowsOrForgetsIsAnError) {
  Start();
  RawClient client = Client();
  EXPECT_EQ(client.Get("/throws").status, 500);
  ASSERT_TRUE(client.Send("PUT /echo HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client.Read().status, 500);
  EXPECT_EQ(client.Get("/small").status, 200);
}

TEST_F(HttpServerTest, AHandlerLearnsAtOnceThatItsClientHasGone) {
  Start();
  {
    RawClient client = Client();
    ASSERT_TRUE(client.Send(GetRequest("/watched")));
    held_.Await(1);
  }
  gone_.WaitForNotification();
  held_.Take()[0].Send(StatusResponse(200));
  ExpectServes();
}

TEST_F(HttpServerTest, AWatchedClientIsAnsweredAndAsksOn) {
  Start();
  RawClient client = Client();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send(GetRequest("/watched") + GetRequest("/small")));
    held_.Await(1);
    held_.Take()[0].Send(TextResponse(200, "done", "text/plain"));
    EXPECT_EQ(client.Read().body, "done");
    EXPECT_EQ(client.Read().body, "small");
  }
  EXPECT_FALSE(gone_.HasBeenNotified());
}

TEST_F(HttpServerTest, StopSendsWatchedClientsAway) {
  Start();
  RawClient client = Client();
  ASSERT_TRUE(client.Send(GetRequest("/watched")));
  held_.Await(1);
  server_->Stop();
  EXPECT_TRUE(gone_.HasBeenNotified());
}

TEST_F(HttpServerTest, ARouteMayTakeAllThatBeginsWithItsPath) {
  Start();
  RawClient client = Client();
  for (const char* path : {"/named/a", "/named/a/b%2Fc", "/named/twice/x", "/named/exact"}) {
    EXPECT_EQ(client.Get(path).body, path);
  }
  EXPECT_EQ(client.Get("/name").status, 404);
  ASSERT_TRUE(client.Send("PUT /named/a HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client.Read().status, 405);
}

TEST(HttpRefusalTest, RefusalsHaveTheFormOfThePort) {
  HttpServer::Options options{.listener = net::Listener::Bind("127.0.0.1:0").value()};
  options.routes = {{"GET", "/drops", [](const Request&, Reply) {}},
                    {"POST", "/small", [](const Request&, Reply) {}, 1}};
  options.refusal = [](int status, std::string_view) {
    return TextResponse(status, absl::StrCat("[", status, "]"), "application/json");
  };
  const auto server = HttpServer::Create(std::move(options)).value();
  const std::pair<std::string, int> refused[] = {
      {GetRequest("/other"), 404},
      {GetRequest("/small"), 405},
      {GetRequest("/drops"), 500},
      {"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 413},
      {"nonsense\r\n\r\n", 400}};
  for (const auto& [request, status] : refused) {
    RawClient client(server->port());
    ASSERT_TRUE(client.Send(request));
    const Answer answer = client.Read();
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(answer.body, absl::StrCat("[", status, "]"));
  }
}

TEST_F(HttpServerTest, AReplyMayComeLaterAndFromAnotherThreadAndOnce) {
  Start();
  RawClient client = Client();
  ASSERT_TRUE(client.Send(GetRequest("/held") + GetRequest("/small")));
  held_.Await(1);
  ExpectServes();  // nobody else waits
  const std::vector<Reply> replies = held_.Take();
  replies[0].Send(TextResponse(200, "late", "text/plain"));
  replies[0].Send(TextResponse(200, "twice", "text/plain"));
  EXPECT_EQ(client.Read().body, "late");
  EXPECT_EQ(client.Read().body, "small");
}

TEST_F(HttpServerTest, ARepliesClientOrServerMayHaveGone) {
  Start();
  {
    RawClient client = Client();
    ASSERT_TRUE(client.Send(GetRequest("/held")));
    held_.Await(1);
  }
  for (const Reply& reply : held_.Take()) reply.Send(TextResponse(200, "x", "text/plain"));
  ExpectServes();
  RawClient client = Client();
  ASSERT_TRUE(client.Send(GetRequest("/held")));
  held_.Await(1);
  server_.reset();
  for (const Reply& reply : held_.Take()) reply.Send(TextResponse(200, "x", "text/plain"));
  EXPECT_TRUE(client.ReadToEnd());
}

TEST_F(HttpServerTest, WhoIsTooSlowIsCutOffHoweverItTrickles) {
  ConnectionLimits limits = PatientLimits();
  limits.idle = limits.request = milliseconds(200);
  Start(limits);
  RawClient silent = Client(), half = Client(), trickling = Client(), between = ServedClient();
  half.Send("GET /small HT");
  trickling.Send("GET /small HTTP/1.1\r\n");
  // Ends only because the server ends it.
  while (trickling.Send("X: y\r\n")) std::this_thread::sleep_for(milliseconds(20));
  for (RawClient* client : {&silent, &half, &between}) {
    std::string rest;
    EXPECT_TRUE(client->ReadToEnd(&rest));
    EXPECT_EQ(rest, "");
  }
  ServedClient();
}

TEST_F(HttpServerTest, WhoDoesNotReadIsCutOff) {
  ConnectionLimits limits = PatientLimits();
  limits.answer = milliseconds(200);
  Start(limits);
  const size_t files = OpenFiles();
  RawClient client = UnreadClient();
  while (OpenFiles() > files + 1) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(client.Read().status, 0);  // not all of it
  ServedClient();
}

TEST_F(HttpServerTest, ALingeringConnectionIsCutOff) {
  ConnectionLimits limits = PatientLimits();
  limits.linger = milliseconds(100);
  Start(limits);
  RawClient client = Client();
  EXPECT_EQ(client.Get("/small", "Connection: close\r\n").status, 200);
  while (client.Send("more")) std::this_thread::sleep_for(milliseconds(5));
}

TEST_F(HttpServerTest, ARequestGetsThroughWhereAllPlacesAreTaken) {
  Start();
  std::list<RawClient> hostile;
  for (int i = 0; i < 200; ++i) {
    RawClient& client = hostile.emplace_back(Client());
    ASSERT_TRUE(client.connected());
    client.Send(i % 2 == 0 ? "GET /small HT" : "");
    if (i % 10 == 0) ExpectServes();
  }
  EXPECT_TRUE(hostile.front().ReadToEnd());
}

TEST_F(HttpServerTest, AClientThatHasManyConnectionsLosesItsOwn) {
  ConnectionLimits limits = PatientLimits();
  limits.max_connections_per_client = 5;
  Start(limits);
  RawClient neighbour = Client("127.0.0.2");
  EXPECT_EQ(neighbour.Get("/small").status, 200);
  std::list<RawClient> hostile;
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(hostile.emplace_back(Client("127.0.0.3")).Get("/small").status, 200);
  }
  EXPECT_TRUE(hostile.front().ReadToEnd());
  EXPECT_EQ(hostile.back().Get("/small").status, 200);
  EXPECT_EQ(neighbour.Get("/small").status, 200);
}

TEST_F(HttpServerTest, AnswersThatNobodyReadsAreBounded) {
  ConnectionLimits limits = PatientLimits();
  limits.max_unread_bytes = 2 * kLargeBytes;
  Start(limits);
  std::list<RawClient> unread;
  for (int i = 0; i < 6; ++i) {
    unread.push_back(UnreadClient());
    EXPECT_EQ(Client().Get("/large").body.size(), kLargeBytes) << i;
  }
  EXPECT_EQ(unread.front().Read().status, 0);  // it was cut off
}

TEST_F(HttpServerTest, RequestsAreNotReadAheadOfTheirAnswers) {
  Start();
  RawClient client = UnreadClient();
  // Fills what the two kernels and the server's buffer take, and no more.
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += GetRequest("/held");
  ASSERT_TRUE(client.Send(requests));
  ExpectServes();
  EXPECT_TRUE(held_.Take().empty());
}

TEST_F(HttpServerTest, BodiesOfAllRequestsAreBounded) {
  ConnectionLimits limits = PatientLimits();
  limits.max_request_bytes = 1 << 20;
  Start(limits);
  const auto post = [](const char* path, size_t size) {
    return absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: a\r\nContent-Length: ", size, "\r\n\r\n",
                        std::string(size, 'x'));
  };
  RawClient first = Client(), second = Client(), third = Client();
  ASSERT_TRUE(first.Send(post("/held", 450'000)));
  held_.Await(1);
  second.Send(post("/echo", 200'000));
  EXPECT_EQ(second.Read().status, 503);
  held_.Take()[0].Send(TextResponse(200, "done", "text/plain"));
  EXPECT_EQ(first.Read().status, 200);
  ASSERT_TRUE(third.Send(post("/echo", 200'000)));
  EXPECT_EQ(third.Read().body.size(), 200'000u);
}

TEST_F(HttpServerTest, StopEndsAllConnectionsAtOnce) {
  Start();
  std::list<RawClient> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(Client());                                 // silent
    clients.emplace_back(Client()).Send("GET /small HT");        // half-sent
    clients.emplace_back(Client()).Get("/small");                // kept
    clients.push_back(UnreadClient());                           // unread
    clients.emplace_back(Client()).Send(GetRequest("/held"));    // unanswered
    clients.emplace_back(Client()).Get("/small", "Connection: close\r\n");  // lingering
  }
  held_.Await(8);
  server_->Stop();
  server_->Stop();
  for (RawClient& client : clients) EXPECT_TRUE(client.ReadToEnd());
  EXPECT_FALSE(Client().connected());
}

TEST_F(HttpServerTest, AnAnswerUnderWayIsFinishedAtStop) {
  Start();
  RawClient client = Client();
  ASSERT_TRUE(client.Send(GetRequest("/held")));
  held_.Await(1);
  std::thread stop([this] { server_->Stop(); });
  // A new client is refused once it has begun; the old one's reply comes within the grace.
  while (Client().connected()) std::this_thread::yield();
  for (const Reply& reply : held_.Take()) reply.Send(TextResponse(200, "last", "text/plain"));
  stop.join();
  const Answer answer = client.Read();
  if (answer.status != 0) {  // a machine that slept through the grace
    EXPECT_EQ(answer.body, "last");
    EXPECT_EQ(answer.Header("Connection"), "close");
  }
  EXPECT_TRUE(client.ReadToEnd());
}

TEST_F(HttpServerTest, StopMayComeAtOnce) {
  for (int i = 0; i < 20; ++i) {
    Start();
    if (i % 2 == 0) server_->Stop();
  }
}

TEST_F(HttpServerTest, ItListensOnAUnixSocket) {
  testing::TempFolder folder;
  const std::string path = folder.File("socket");
  Start(PatientLimits(), "unix:" + path);
  EXPECT_EQ(server_->port(), 0);
  EXPECT_EQ(RawClient(path).Get("/small").body, "small");
  server_->Stop();
  EXPECT_FALSE(RawClient(path).connected());
}

TEST_F(HttpServerTest, ItListensOnAllAddressesOfTheMachine) {
  if (!net::Listener::Bind("[::1]:0").ok()) GTEST_SKIP() << "this machine has no IPv6";
  Start(PatientLimits(), "[::]:0");
  ExpectServes();
}

TEST_F(HttpServerTest, AnAddressThatSomebodyTookMeanwhileIsAnError) {
  testing::TempFolder folder;
  auto listener = net::Listener::Bind("unix:" + folder.File("socket"));
  ASSERT_TRUE(listener.ok());
  folder.Write("socket", "");
  const auto server = HttpServer::Create({.listener = *std::move(listener), .routes = Routes()});
  EXPECT_TRUE(absl::IsUnavailable(server.status())) << server.status();
}

// A limit of the process's file descriptors, as long as it lives.
class FewFiles {
 public:
  explicit FewFiles(rlim_t files) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few = {files, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewFiles() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_ = {};
};

TEST_F(HttpServerTest, WithoutAFreeDescriptorItMakesOneAndGoesOn) {
  Start();
  // Connected, and at the server; each has two descriptors of this process.
  std::list<RawClient> idle;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(idle.emplace_back(Client()).Get("/small").status, 200);
  RawClient late = [this] {
    const int next = dup(0);  // the lowest that is free: the limit leaves this one alone
    close(next);
    FewFiles few(static_cast<rlim_t>(next) + 1);
    RawClient client = Client();
    EXPECT_TRUE(client.connected());
    EXPECT_EQ(client.Get("/small").status, 200);
    return client;
  }();
  EXPECT_TRUE(idle.front().ReadToEnd());
  EXPECT_EQ(late.Get("/small").status, 200);
  EXPECT_EQ(idle.back().Get("/small").status, 200);
}

TEST_F(HttpServerTest, AcceptGoesOnOnceThereAreDescriptorsAgain) {
  Start();
  RawClient client = [this] {
    const int next = dup(0);
    close(next);
    FewFiles few(static_cast<rlim_t>(next) + 1);
    RawClient waiting = Client();  // nobody can go for it
    EXPECT_TRUE(waiting.connected());
    EXPECT_TRUE(waiting.Send(GetRequest("/small")));
    std::this_thread::sleep_for(milliseconds(30));  // so that accept has failed
    return waiting;
  }();
  EXPECT_EQ(client.Read().status, 200);
  ExpectServes();
}

TEST(HttpServerLimitsTest, ConnectionsAreAPartOfTheDescriptors) {
  const auto limit_of = [](rlim_t files) {
    FewFiles few(files);
    return HttpServer::DefaultLimits().max_connections;
  };
  EXPECT_EQ(limit_of(32), 16u);
  EXPECT_EQ(limit_of(256), 48u);
  EXPECT_EQ(limit_of(1024), 240u);
}

TEST(HttpServerLimitsTest, WithoutDescriptorsThereIsAnErrorInsteadOfAServer) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizers need descriptors to look at an exception";
#endif
  auto listener = net::Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  const int next = dup(0);
  close(next);
  FewFiles few(static_cast<rlim_t>(next));
  const auto server = HttpServer::Create({.listener = *std::move(listener), .routes = {}});
  EXPECT_TRUE(absl::IsResourceExhausted(server.status())) << server.status();
}

}  // namespace
}  // namespace olmoe::http
