// Every RPC of every service x who calls. The RPCs come from the descriptors, so one that
// is added later is in the matrix; requests are bytes that parse as nothing, so a call
// that is let in changes nothing.
#include <google/protobuf/descriptor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/inference_calls.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/secured_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kStrangersToken[] = "stranger-secret-0123456789";
constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
constexpr char kNotAMessage[] = "\xFF\xFF";

std::vector<std::string> MethodsOf(const std::string& service) {
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
  std::vector<std::string> methods;
  for (int i = 0; i < descriptor->method_count(); ++i) {
    methods.push_back(absl::StrCat("/", service, "/", descriptor->method(i)->name()));
  }
  return methods;
}

// Those of `service`, and what else can be called on its port.
std::vector<std::string> CallsOn(const std::string& service) {
  std::vector<std::string> methods = MethodsOf(service);
  methods.insert(methods.end(), {kReflection, absl::StrCat("/", service, "/NoSuchMethod"),
                                 "/no.such.Service/Method"});
  return methods;
}

class AccessMatrixTest : public ::testing::TestWithParam<Transport> {
 protected:
  grpc::StatusCode Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                        const std::string& token) {
    last_ = CallUnary(channel, method, kNotAMessage, Bearer(token)).status;
    return last_.error_code();
  }

  // Each call on both ports with `token`, by clients that TLS lets in.
  void ExpectCodes(const std::string& token, const ::testing::Matcher<grpc::StatusCode>& on_public,
                   const ::testing::Matcher<grpc::StatusCode>& on_admin) {
    for (const std::string service : {kInferenceServiceName, kAdminServiceName}) {
      const auto channel = server_.Connect(server_.PortOf(service));
      for (const std::string& method : CallsOn(service)) {
        EXPECT_THAT(Call(channel, method, token),
                    service == kInferenceServiceName ? on_public : on_admin)
            << method << ": " << last_.error_message();
        EXPECT_THAT(last_.error_message(), Not(HasSubstr("secret")));
      }
    }
  }

  // Each call on both ports by clients that TLS refuses, whatever their token.
  void ExpectNoConnection(const testing::TestAuthority& trusted,
                          const testing::TestIdentity& identity) {
    for (const std::string service : {kInferenceServiceName, kAdminServiceName}) {
      const auto channel = server_.Connect(server_.PortOf(service), trusted, identity);
      for (const std::string& method : CallsOn(service)) {
        EXPECT_EQ(Call(channel, method, kAdminToken), grpc::StatusCode::UNAVAILABLE) << method;
      }
    }
  }

  SecuredServer server_{GetParam()};
  const testing::TestAuthority stranger_{"authority"};  // the same name, another key
  grpc::Status last_;
};

// What a service answers to bytes that are no message, and gRPC to a method it has not.
const auto kLetIn = AnyOf(grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::UNIMPLEMENTED,
                          grpc::StatusCode::INTERNAL, grpc::StatusCode::OK);

TEST_P(AccessMatrixTest, NoTokenIsUnauthenticated) {
  ExpectCodes("", grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(last_.error_message(), HasSubstr("authorization: Bearer TOKEN"));
}

TEST_P(AccessMatrixTest, AnUnknownTokenIsUnauthenticated) {
  ExpectCodes(kStrangersToken, grpc::StatusCode::UNAUTHENTICATED,
              grpc::StatusCode::UNAUTHENTICATED);
}

TEST_P(AccessMatrixTest, AUserIsLetInOnThePublicPortAlone) {
  ExpectCodes(kUserToken, kLetIn, grpc::StatusCode::PERMISSION_DENIED);
}

TEST_P(AccessMatrixTest, AnAdminIsLetInOnBothPorts) { ExpectCodes(kAdminToken, kLetIn, kLetIn); }

class AccessTlsTest : public AccessMatrixTest {};
class AccessMutualTlsTest : public AccessMatrixTest {};

TEST_P(AccessTlsTest, AClientOfAnotherAuthorityDoesNotConnect) {
  ExpectNoConnection(stranger_, server_.authority().Issue("client"));
}

TEST_P(AccessMutualTlsTest, AsksForACertificateOfItsAuthority) {
  ExpectNoConnection(server_.authority(), {});
  ExpectNoConnection(server_.authority(), stranger_.Issue("client"));
}

TEST_P(AccessMatrixTest, HealthCheckingNeedsNoToken) {
  for (const std::string service : {kInferenceServiceName, kAdminServiceName}) {
    const auto channel = server_.Connect(server_.PortOf(service));
    EXPECT_TRUE(CallUnary(channel, "/grpc.health.v1.Health/Check", "").status.ok()) << service;
  }
}

TEST_P(AccessMatrixTest, ARefusedPatchChangesNothing) {
  const std::string patch = TopKPatch(1).SerializeAsString();
  const auto channel = server_.Connect(server_.PortOf(kAdminServiceName));
  const std::string method = absl::StrCat("/", kAdminServiceName, "/PatchRouters");
  for (const char* token : {"", kStrangersToken, kUserToken}) {
    EXPECT_FALSE(CallUnary(channel, method, patch, Bearer(token)).status.ok());
  }
  EXPECT_THAT(server_.server().swaps(), IsEmpty());
  EXPECT_TRUE(CallUnary(channel, method, patch, Bearer(kAdminToken)).status.ok());
  EXPECT_THAT(server_.server().swaps(), SizeIs(1));
}

std::string NameOf(const ::testing::TestParamInfo<Transport>& info) {
  switch (info.param) {
    case Transport::kPlaintext: return "Plaintext";
    case Transport::kTls: return "Tls";
    case Transport::kMutualTls: return "MutualTls";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(Transports, AccessMatrixTest,
                         ::testing::Values(Transport::kPlaintext, Transport::kTls,
                                           Transport::kMutualTls),
                         &NameOf);
INSTANTIATE_TEST_SUITE_P(Transports, AccessTlsTest,
                         ::testing::Values(Transport::kTls, Transport::kMutualTls), &NameOf);
INSTANTIATE_TEST_SUITE_P(Transports, AccessMutualTlsTest, ::testing::Values(Transport::kMutualTls),
                         &NameOf);

}  // namespace
}  // namespace olmoe::rpc
