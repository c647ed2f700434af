#ifndef OLMOE_SERVER_ACCESS_TLS_MATERIAL_H_
#define OLMOE_SERVER_ACCESS_TLS_MATERIAL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace olmoe::access {

// What a TLS port needs, as PEM.
struct TlsMaterial {
  std::string certificate_chain;
  std::string private_key;
  std::string client_ca;  // empty: clients need no certificate
  bool operator==(const TlsMaterial&) const = default;
};

// One line for each certificate of `pem` that is not valid at `now`: whose it is, and
// when it is. Of more than a few their number.
std::vector<std::string> DateProblems(const std::string& pem, absl::Time now);

// INVALID_ARGUMENT where OpenSSL could not serve with it: no certificate, a key that is
// encrypted or belongs to another certificate, a key too short for it, no authority in
// `client_ca`. Messages hold no part of it.
absl::Status CheckTls(const TlsMaterial& material);

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_TLS_MATERIAL_H_
