#ifndef OLMOE_SERVER_ACCESS_ACCESS_FILES_H_
#define OLMOE_SERVER_ACCESS_ACCESS_FILES_H_

#include <string>

namespace olmoe::access {

// The files that say who may call, as the operator names them. Empty: none.
struct AccessFiles {
  std::string tls_cert = {};             // chain of both gRPC ports, PEM; empty: plaintext
  std::string tls_key = {};              // its private key, PEM
  std::string tls_client_ca = {};        // both ports ask for a certificate that these signed
  std::string admin_tls_client_ca = {};  // instead of tls_client_ca on the admin port
  std::string token_file = {};           // a call on the public port brings one of these tokens,
  std::string admin_token_file = {};     // or one of these, which also open the admin port
};

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_ACCESS_FILES_H_
