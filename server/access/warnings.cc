#include "server/access/warnings.h"

#include <arpa/inet.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace olmoe::access {
namespace {

std::string Plaintext(const char* flag, const std::string& host) {
  return absl::StrCat(flag, " ", host, " without TLS: prompts, replies and tokens can be read and "
                      "changed on the way; see --tls-cert");
}

}  // namespace

bool IsLoopback(const std::string& host) {
  if (absl::EqualsIgnoreCase(host, "localhost")) return true;
  if (host == "::1" || host == "[::1]") return true;
  in_addr address;
  if (inet_pton(AF_INET, host.c_str(), &address) != 1) return false;
  constexpr uint32_t kLoopbackNet = 127;
  return ntohl(address.s_addr) >> 24 == kLoopbackNet;
}

std::vector<std::string> AccessWarnings(const AccessFiles& files, const std::string& host,
                                        const std::string& admin_host) {
  std::vector<std::string> warnings;
  const bool plaintext = files.tls_cert.empty();
  if (plaintext && !IsLoopback(host)) warnings.push_back(Plaintext("--listen", host));
  if (plaintext && !IsLoopback(admin_host)) {
    warnings.push_back(Plaintext("--admin-listen", admin_host));
  }
  if (!files.admin_token_file.empty() || !files.admin_tls_client_ca.empty()) return warnings;
  if (!files.tls_client_ca.empty()) {
    warnings.push_back(
        "every client certificate that opens the public port opens the admin port too: see "
        "--admin-tls-client-ca and --admin-token-file");
  } else if (!IsLoopback(admin_host) || !files.token_file.empty()) {
    warnings.push_back(
        "everybody who reaches the admin port may patch: see --admin-token-file and "
        "--admin-tls-client-ca");
  }
  return warnings;
}

}  // namespace olmoe::access
