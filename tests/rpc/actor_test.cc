#include "server/rpc/caller.h"

#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "tests/rpc/secured_server.h"

namespace olmoe::rpc {
namespace {

using testing::TestIdentity;

// GetRouting tells who has called it.
class EchoActor final : public v1::RoutingAdminService::CallbackService {
 public:
  explicit EchoActor(const access::Gate* gate) : gate_(gate) {}
  grpc::ServerUnaryReactor* GetRouting(grpc::CallbackServerContext* call,
                                       const v1::GetRoutingRequest*,
                                       v1::GetRoutingResponse* response) override {
    response->mutable_current()->set_actor(ActorOf(*call, gate_));
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const access::Gate* const gate_;
};

std::string Ask(const std::shared_ptr<grpc::Channel>& channel, const std::string& token) {
  grpc::ClientContext context;
  for (const auto& [key, value] : Bearer(token)) context.AddMetadata(key, value);
  v1::GetRoutingResponse response;
  const grpc::Status status =
      v1::RoutingAdminService::NewStub(channel)->GetRouting(&context, {}, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.current().actor();
}

std::unique_ptr<GrpcServer> Serve(const access::PortAccess& access) {
  auto server = GrpcServer::Create(BindOrDie(), {.service_name = "x", .access = access},
                                   std::make_unique<EchoActor>(access.gate.get()));
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

TEST(ActorTest, IsTheNameOfTheToken) {
  const SecuredServer secured(Transport::kMutualTls);
  const auto server = Serve(secured.access().admin);
  EXPECT_EQ(Ask(secured.Connect(server->port()), kAdminToken), "admin");
}

TEST(ActorTest, IsTheNameOfTheCertificateWhereTheTokenHasNone) {
  const SecuredServer secured(Transport::kMutualTls);
  const auto server = Serve(secured.access().admin);
  secured.folder().Write("admins", kAdminToken);
  const TestIdentity carol = secured.authority().Issue("carol");
  EXPECT_EQ(Ask(secured.Connect(server->port(), secured.authority(), carol), kAdminToken), "carol");
  const TestIdentity odd = secured.authority().Issue("a\nb\xC3\xA9");
  EXPECT_EQ(Ask(secured.Connect(server->port(), secured.authority(), odd), kAdminToken), "a?b??");
}

TEST(ActorTest, IsTheNameOfTheCertificateOnAPortWithoutTokens) {
  const SecuredServer secured(Transport::kMutualTls);
  const auto server = Serve({.tls = secured.access().admin.tls, .gate = nullptr});
  const TestIdentity carol = secured.authority().Issue("carol");
  EXPECT_EQ(Ask(secured.Connect(server->port(), secured.authority(), carol), ""), "carol");
}

TEST(ActorTest, IsEmptyForACallerWithoutCredentials) {
  const auto server = Serve({});
  EXPECT_EQ(Ask(Connect(server->port()), ""), "");
  EXPECT_EQ(Ask(Connect(server->port()), kAdminToken), "");
}

}  // namespace
}  // namespace olmoe::rpc
