#ifndef OLMOE_CLIENT_TRANSPORT_CREDENTIALS_H_
#define OLMOE_CLIENT_TRANSPORT_CREDENTIALS_H_

#include <string>

#include "absl/status/statusor.h"

namespace olmoe::client::transport {

// The flags that say who calls and whom it trusts. Empty: none.
struct CredentialFiles {
  std::string ca;          // whom the server's certificate must come from, PEM
  std::string cert;        // of this client, PEM
  std::string key;         // its private key, PEM
  std::string token_file;  // its first token is sent
  bool tls = false;        // TLS although there is no `ca`: the system's authorities
};

// What the files hold.
struct Credentials {
  bool tls = false;
  std::string ca;  // empty: the system's authorities
  std::string certificate, key;
  std::string token;  // empty: none is sent
};

// Errors: one line that names the flag, the file and the reason, never its content.
absl::StatusOr<Credentials> ReadCredentials(const CredentialFiles& files);

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_CREDENTIALS_H_
