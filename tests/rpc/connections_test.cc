// Connections of a port: how many, whose, and what they cannot do to it.
#include <grpcpp/client_context.h>
#include <grpcpp/impl/service_type.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "server/rpc/grpc_server.h"
#include "tests/net/sockets.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/test_server.h"
#include "tests/support/temp_folder.h"

namespace olmoe::rpc {
namespace {

using net::Socket;
using net::SocketAddress;

constexpr char kGetRouting[] = "/olmoe.v1.RoutingAdminService/GetRouting";

// Remembers by which name gRPC knows the last caller of GetRouting; takes every patch.
class PeerNames final : public v1::RoutingAdminService::CallbackService {
 public:
  explicit PeerNames(std::string* last) : last_(last) {}
  grpc::ServerUnaryReactor* GetRouting(grpc::CallbackServerContext* call,
                                       const v1::GetRoutingRequest*,
                                       v1::GetRoutingResponse*) override {
    *last_ = call->peer();
    return Finish(call);
  }
  grpc::ServerUnaryReactor* PatchRouters(grpc::CallbackServerContext* call,
                                         const v1::PatchRoutersRequest*,
                                         v1::PatchRoutersResponse*) override {
    return Finish(call);
  }

 private:
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* call) {
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  std::string* const last_;  // written before the call is answered
};

// A port with PeerNames.
class Port {
 public:
  explicit Port(const std::string& address = "127.0.0.1:0", net::ConnectionLimits limits = {}) {
    auto server =
        GrpcServer::Create(BindOrDie(address), {.service_name = "x", .connections = limits},
                           std::make_unique<PeerNames>(&last_caller_));
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  GrpcServer& server() { return *server_; }
  SocketAddress address() const { return net::Ipv4("127.0.0.1", server_->port()); }
  std::shared_ptr<grpc::Channel> NewChannel() const { return Connect(server_->port()); }
  const std::string& last_caller() const { return last_caller_; }

 private:
  std::string last_caller_;
  std::unique_ptr<GrpcServer> server_;
};

// Connects as often as it takes.
bool IsServed(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::GetRoutingResponse response;
  return v1::RoutingAdminService::NewStub(channel)->GetRouting(&context, {}, &response).ok();
}

TEST(ConnectionsTest, OneErrorOfAcceptDoesNotEndThePort) {
  Port port;
  Socket waiting(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress to = port.address();
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  ASSERT_EQ(connect(waiting.fd(), to.get(), to.size), 0);
  absl::SleepFor(absl::Milliseconds(50));  // gives accept time to fail
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_NE(waiting.Read(), "");  // gRPC's SETTINGS
  EXPECT_TRUE(IsServed(port.NewChannel()));
}

TEST(ConnectionsTest, AfterAStormOfConnectionsAndGarbageThePortServes) {
  Port port("127.0.0.1:0", {.in_all = 16, .per_client = 16});
  std::vector<Socket> silent;
  for (int i = 0; i < 1000; ++i) {
    Socket client = net::Connect(port.address());
    if (i % 3 == 0) client.Write("GET / HTTP/1.1\r\n\r\n");
    if (i % 10 == 0) silent.push_back(std::move(client));
  }
  silent.clear();
  EXPECT_TRUE(IsServed(port.NewChannel()));
}

TEST(ConnectionsTest, OneClientCannotTakeAllConnections) {
  Port port("127.0.0.1:0", {.in_all = 10, .per_client = 3});
  const SocketAddress other = net::Ipv4("127.0.0.2", 0);
  std::vector<Socket> held;
  for (int i = 0; i < 20; ++i) held.push_back(net::Connect(port.address(), &other));
  EXPECT_TRUE(IsServed(port.NewChannel()));
}

TEST(ConnectionsTest, AConnectionIsEndedByTheNameThatGrpcGivesItsClient) {
  for (const char* host : {"127.0.0.1", "[::1]", "[::]"}) {
    if (!net::Listener::Bind(absl::StrCat(host, ":0")).ok()) continue;  // without IPv6
    Port port(absl::StrCat(host, ":0"));
    const auto other = ConnectTo(absl::StrCat(host, ":", port.server().port()));
    const auto channel = ConnectTo(absl::StrCat(host, ":", port.server().port()));
    ASSERT_TRUE(IsServed(other) && IsServed(channel));
    port.server().Disconnect(port.last_caller());
    EXPECT_TRUE(channel->WaitForStateChange(
        GRPC_CHANNEL_READY, std::chrono::system_clock::now() + std::chrono::minutes(1)))
        << port.last_caller();
    EXPECT_EQ(other->GetState(false), GRPC_CHANNEL_READY);
    EXPECT_TRUE(IsServed(channel));
  }
}

TEST(ConnectionsTest, AUnixSocketServesAndDoesNotTellItsClientsApart) {
  testing::TempFolder folder;
  const std::string address = absl::StrCat("unix:", folder.File("socket"));
  {
    Port port(address);
    const auto channel = ConnectTo(address);
    ASSERT_TRUE(IsServed(channel));
    port.server().Disconnect(port.last_caller());
    EXPECT_TRUE(CallUnary(channel, kGetRouting, "").status.ok());
    EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);
  }
  EXPECT_NE(::access(folder.File("socket").c_str(), F_OK), 0);
}

TEST(ConnectionsTest, CompressedRequestsAreRefused) {
  Port port;
  for (const auto& [algorithm, code] :
       {std::make_pair(GRPC_COMPRESS_NONE, grpc::StatusCode::OK),
        std::make_pair(GRPC_COMPRESS_GZIP, grpc::StatusCode::UNIMPLEMENTED),
        std::make_pair(GRPC_COMPRESS_DEFLATE, grpc::StatusCode::UNIMPLEMENTED)}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    v1::PatchRoutersRequest request;
    request.mutable_policy()->set_policy_id(std::string(10000, 'x'));
    v1::PatchRoutersResponse response;
    const grpc::Status status = v1::RoutingAdminService::NewStub(port.NewChannel())
                                    ->PatchRouters(&context, request, &response);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
  }
}

}  // namespace
}  // namespace olmoe::rpc
