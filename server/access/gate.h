#ifndef OLMOE_SERVER_ACCESS_GATE_H_
#define OLMOE_SERVER_ACCESS_GATE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/access/token_file.h"

namespace olmoe::access {

// A name as it is kept and logged: at most 64 bytes of printable ASCII. A certificate may call its
// owner anything.
std::string PrintableName(std::string_view name);

// Which calls of a port are let in, by the token in `authorization: Bearer TOKEN`.
// Health checking is let in without one, because the probes of orchestrators cannot
// send it. Thread-safe.
class Gate {
 public:
  // The values of the `authorization` fields of a call.
  using Authorization = std::vector<std::string_view>;

  struct Options {
    std::string port_name;  // "admin", for messages
    // The tokens that open this port; at least one file.
    std::vector<std::shared_ptr<TokenFile>> opening;
    // Tokens that only open another port: they get PERMISSION_DENIED, so that who
    // mistakes the port learns it.
    std::vector<std::shared_ptr<TokenFile>> of_other_ports;
  };
  explicit Gate(Options options) : options_(std::move(options)) {}

  // `method`: "/package.Service/Method". Errors: UNAUTHENTICATED, PERMISSION_DENIED.
  absl::Status Check(std::string_view method, const Authorization& authorization) const;

  // Who sent the token of a call that was let in; empty where it has none, or none with
  // a name.
  std::string TokenName(const Authorization& authorization) const;

 private:
  const Options options_;
};

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_GATE_H_
