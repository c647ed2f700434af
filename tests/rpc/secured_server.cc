#include "tests/rpc/secured_server.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/rpc/inference_calls.h"

namespace olmoe::rpc {
namespace {

access::Access Open(Transport transport, const testing::TempFolder& folder,
                    const testing::TestAuthority& authority) {
  access::AccessFiles files;
  files.token_file = folder.Write("users", absl::StrCat("user:", kUserToken));
  files.admin_token_file = folder.Write("admins", absl::StrCat("admin:", kAdminToken));
  if (transport != Transport::kPlaintext) {
    const testing::TestIdentity identity = authority.Issue("server");
    files.tls_cert = folder.Write("cert", identity.certificate);
    files.tls_key = folder.Write("key", identity.key);
  }
  if (transport == Transport::kMutualTls) {
    files.tls_client_ca = folder.Write("ca", authority.certificate());
  }
  auto access = access::OpenAccess(files);
  CHECK(access.ok()) << access.status();
  return *std::move(access);
}

}  // namespace

SecuredServer::SecuredServer(Transport transport)
    : transport_(transport), access_(Open(transport, folder_, authority_)) {
  TestServerOptions options;
  options.access = access_;
  server_ = std::make_unique<TestServer>(std::move(options));
}

int SecuredServer::PortOf(const std::string& service) const {
  return service == kInferenceServiceName ? server_->inference_server().port()
                                          : server_->admin_server().port();
}

std::shared_ptr<grpc::Channel> SecuredServer::Connect(int port,
                                                      const testing::TestAuthority& authority,
                                                      const testing::TestIdentity& identity) const {
  if (transport_ == Transport::kPlaintext) return rpc::Connect(port);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority.certificate();
  options.pem_private_key = identity.key;
  options.pem_cert_chain = identity.certificate;
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), grpc::SslCredentials(options),
                                   arguments);
}

std::shared_ptr<grpc::Channel> SecuredServer::Connect(int port) const {
  if (transport_ != Transport::kMutualTls) return Connect(port, authority_);
  return Connect(port, authority_, authority_.Issue("client"));
}

Metadata Bearer(const std::string& token) {
  if (token.empty()) return {};
  return {{"authorization", absl::StrCat("Bearer ", token)}};
}

}  // namespace olmoe::rpc
