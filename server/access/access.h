// Who may call: tokens and TLS of both gRPC ports, from the operator's files.
#ifndef OLMOE_SERVER_ACCESS_ACCESS_H_
#define OLMOE_SERVER_ACCESS_ACCESS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/access/access_files.h"
#include "server/access/gate.h"
#include "server/access/tls_files.h"

namespace olmoe::access {

// Of one port.
struct PortAccess {
  std::shared_ptr<TlsFiles> tls;     // null: plaintext
  std::shared_ptr<const Gate> gate;  // null: every call is let in
};

struct Access {
  PortAccess inference;
  PortAccess admin;
};

// Reads every file. An admin token opens both ports, so that an operator needs one
// token; a user's opens the public port alone. Errors: one line that names the file.
absl::StatusOr<Access> OpenAccess(const AccessFiles& files);

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_ACCESS_H_
