// A TestServer with tokens and TLS from files of its own.
#ifndef OLMOE_TESTS_RPC_SECURED_SERVER_H_
#define OLMOE_TESTS_RPC_SECURED_SERVER_H_

#include <memory>
#include <string>

#include "tests/rpc/generic_call.h"
#include "tests/rpc/test_server.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_certificates.h"

namespace olmoe::rpc {

inline constexpr char kUserToken[] = "user-secret-0123456789";    // of "user"
inline constexpr char kAdminToken[] = "admin-secret-0123456789";  // of "admin"

enum class Transport { kPlaintext, kTls, kMutualTls };

// Tokens on both ports, and TLS as chosen; clients of mutual TLS are signed by the same
// authority. Thread-compatible.
class SecuredServer {
 public:
  explicit SecuredServer(Transport transport);

  TestServer& server() { return *server_; }
  const testing::TempFolder& folder() const { return folder_; }
  const testing::TestAuthority& authority() const { return authority_; }
  const access::Access& access() const { return access_; }
  int PortOf(const std::string& service) const;

  // A connection of its own that trusts `authority` and shows `identity`, if any.
  std::shared_ptr<grpc::Channel> Connect(int port, const testing::TestAuthority& authority,
                                         const testing::TestIdentity& identity = {}) const;
  // As a client does that is let in by TLS.
  std::shared_ptr<grpc::Channel> Connect(int port) const;

 private:
  const Transport transport_;
  const testing::TempFolder folder_;
  const testing::TestAuthority authority_{"authority"};
  access::Access access_;
  std::unique_ptr<TestServer> server_;
};

// The field that carries `token`; none for an empty one.
Metadata Bearer(const std::string& token);

}  // namespace olmoe::rpc

#endif  // OLMOE_TESTS_RPC_SECURED_SERVER_H_
