#include "server/rpc/port_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "glog/logging.h"

namespace olmoe::rpc {
namespace {

using access::Gate;
using access::TlsFiles;
using access::TlsMaterial;
using Gates = std::shared_ptr<const Gate>;

std::string_view View(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

absl::Status Ask(const Gate& gate, const grpc_metadata* fields, size_t count) {
  std::string_view method;
  Gate::Authorization authorization;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view key = View(fields[i].key);
    if (key == ":path") method = View(fields[i].value);
    if (key == "authorization") authorization.push_back(View(fields[i].value));
  }
  return gate.Check(method, authorization);
}

// A grpc_auth_metadata_processor: its state is a Gates of its own.
void AskGate(void* state, grpc_auth_context*, const grpc_metadata* fields, size_t count,
             grpc_process_auth_metadata_done_cb done, void* user_data) {
  const absl::Status status = Ask(**static_cast<Gates*>(state), fields, count);
  if (!status.ok()) {
    LOG_EVERY_T(WARNING, 10) << "refused a call: " << status.message();
  }
  done(user_data, nullptr, 0, nullptr, 0, static_cast<grpc_status_code>(status.code()),
       status.ok() ? nullptr : std::string(status.message()).c_str());
}

void DestroyGate(void* state) { delete static_cast<Gates*>(state); }

// gRPC 1.51's C++ classes offer neither tokens on a plaintext port nor a reload that keeps
// the old certificate where the new files are bad (FileWatcherCertificateProvider closes
// the port to new connections then); its public C interface has both.
class PortCredentials final : public grpc::ServerCredentials {
 public:
  explicit PortCredentials(access::PortAccess access) : access_(std::move(access)) {}

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    LOG(FATAL) << "the gate is the processor";
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    grpc_server_credentials* credentials =
        access_.tls == nullptr ? grpc_insecure_server_credentials_create() : NewTls();
    if (access_.gate != nullptr) {
      grpc_server_credentials_set_auth_metadata_processor(
          credentials, {&AskGate, &DestroyGate, new Gates(access_.gate)});
    }
    const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);
    return port;
  }

  grpc_server_credentials* NewTls() {
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            access_.tls->asks_for_client_certificates()
                ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &FetchTls, this));
  }

  // Called for every new connection, one at a time. A config that gRPC cannot use leaves
  // the one before in place.
  static grpc_ssl_certificate_config_reload_status FetchTls(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto* port = static_cast<PortCredentials*>(self);
    std::shared_ptr<const TlsMaterial> material = port->access_.tls->Current();
    if (material == port->served_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {material->private_key.c_str(),
                                             material->certificate_chain.c_str()};
    // gRPC 1.51 aborts without authorities even where it asks clients for no certificate;
    // then nobody is checked against these.
    const std::string& authorities =
        material->client_ca.empty() ? material->certificate_chain : material->client_ca;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    port->served_ = std::move(material);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const access::PortAccess access_;
  std::shared_ptr<const TlsMaterial> served_;  // guarded by gRPC's lock around FetchTls
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakePortCredentials(access::PortAccess access) {
  return std::make_shared<PortCredentials>(std::move(access));
}

}  // namespace olmoe::rpc
