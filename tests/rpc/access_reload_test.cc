// Certificates, authorities and tokens that change while the server runs.
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/inference_calls.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/secured_server.h"

namespace olmoe::rpc {
namespace {

using testing::TestAuthority;
using testing::TestIdentity;

constexpr char kModelInfo[] = "/olmoe.v1.InferenceService/GetModelInfo";

class AccessReloadTest : public ::testing::Test {
 protected:
  int port() const { return server_.PortOf(kInferenceServiceName); }

  grpc::StatusCode Call(const std::shared_ptr<grpc::Channel>& channel,
                        const std::string& token = kUserToken) const {
    return CallUnary(channel, kModelInfo, "", Bearer(token)).status.error_code();
  }
  // By a new connection of a client that trusts `authority` and has its certificate.
  grpc::StatusCode CallAnew(const TestAuthority& trusted, const TestAuthority& signer) const {
    return Call(server_.Connect(port(), trusted, signer.Issue("client")));
  }
  void ServeAs(const TestIdentity& identity) const {
    server_.folder().Write("cert", identity.certificate);
    server_.folder().Write("key", identity.key);
  }

  const SecuredServer server_{Transport::kMutualTls};
  const TestAuthority& old_ = server_.authority();
  const TestAuthority new_{"new authority"};
};

TEST_F(AccessReloadTest, NewConnectionsGetTheNewCertificateAndOldOnesGoOn) {
  const auto before = server_.Connect(port());
  GenericStream watch(before, "/grpc.health.v1.Health/Watch");
  ASSERT_TRUE(watch.Write(""));
  watch.WritesDone();
  std::string bytes;
  ASSERT_TRUE(watch.Read(&bytes));

  ServeAs(new_.Issue("server"));
  EXPECT_EQ(CallAnew(new_, old_), grpc::StatusCode::OK);
  EXPECT_EQ(CallAnew(old_, old_), grpc::StatusCode::UNAVAILABLE);

  EXPECT_EQ(Call(before), grpc::StatusCode::OK);
  watch.Cancel();
  EXPECT_FALSE(watch.Read(&bytes));
  EXPECT_EQ(watch.Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(AccessReloadTest, NewConnectionsNeedACertificateOfTheNewClientAuthority) {
  server_.folder().Write("ca", new_.certificate());
  EXPECT_EQ(CallAnew(old_, new_), grpc::StatusCode::OK);
  EXPECT_EQ(CallAnew(old_, old_), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AccessReloadTest, TwoAuthoritiesInOneFileAreBothGood) {
  server_.folder().Write("ca", absl::StrCat(old_.certificate(), new_.certificate()));
  EXPECT_EQ(CallAnew(old_, new_), grpc::StatusCode::OK);
  EXPECT_EQ(CallAnew(old_, old_), grpc::StatusCode::OK);
}

TEST_F(AccessReloadTest, BadFilesLeaveThePortAsItWas) {
  EXPECT_EQ(CallAnew(old_, old_), grpc::StatusCode::OK);
  for (const char* name : {"cert", "key", "ca"}) {
    server_.folder().Write(name, "not what it was");
    EXPECT_EQ(CallAnew(old_, old_), grpc::StatusCode::OK) << name;
    EXPECT_EQ(Call(server_.Connect(port(), old_)), grpc::StatusCode::UNAVAILABLE) << name;
  }
}

TEST_F(AccessReloadTest, ATokenIsChangedUnderAnOpenConnection) {
  const auto channel = server_.Connect(port());
  const std::string next = "next-secret-0123456789";
  EXPECT_EQ(Call(channel), grpc::StatusCode::OK);
  EXPECT_EQ(Call(channel, next), grpc::StatusCode::UNAUTHENTICATED);
  server_.folder().Write("users", absl::StrCat("user:", next));
  EXPECT_EQ(Call(channel), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Call(channel, next), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace olmoe::rpc
