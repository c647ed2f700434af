#include "server/access/warnings.h"

#include <arpa/inet.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe::access {
namespace {

std::string Plaintext(const char* flag, const std::string& host) {
  return absl::StrCat(flag, " ", host,
                      " without TLS: prompts, replies and tokens can be read and "
                      "changed on the way; see --tls-cert");
}

// gRPC's core counts resets, and streams before the client has acknowledged its SETTINGS, since
// 1.60.
bool BoundsFloods(const std::string& grpc_version) {
  const std::vector<std::string> parts = absl::StrSplit(grpc_version, '.');
  int major = 0, minor = 0;
  if (parts.size() < 2 || !absl::SimpleAtoi(parts[0], &major) ||
      !absl::SimpleAtoi(parts[1], &minor)) {
    return false;
  }
  return major > 1 || (major == 1 && minor >= 60);
}

// Empty where only this machine reaches all of them.
std::string FirstBeyondLoopback(const std::vector<std::string>& hosts) {
  for (const std::string& host : hosts) {
    if (!IsLoopback(host)) return host;
  }
  return "";
}

}  // namespace

bool IsLoopback(const std::string& host) {
  if (absl::EqualsIgnoreCase(host, "localhost")) return true;
  if (absl::StartsWith(host, "unix:")) return true;
  if (host == "::1" || host == "[::1]") return true;
  in_addr address;
  if (inet_pton(AF_INET, host.c_str(), &address) != 1) return false;
  constexpr uint32_t kLoopbackNet = 127;
  return ntohl(address.s_addr) >> 24 == kLoopbackNet;
}

std::vector<std::string> AccessWarnings(const AccessFiles& files,
                                        const std::vector<std::string>& hosts,
                                        const std::vector<std::string>& admin_hosts) {
  std::vector<std::string> warnings;
  const std::string host = FirstBeyondLoopback(hosts);
  const std::string admin_host = FirstBeyondLoopback(admin_hosts);
  const bool plaintext = files.tls_cert.empty();
  if (plaintext && !host.empty()) warnings.push_back(Plaintext("--listen", host));
  if (plaintext && !admin_host.empty()) warnings.push_back(Plaintext("--admin-listen", admin_host));
  if (!files.admin_token_file.empty() || !files.admin_tls_client_ca.empty()) return warnings;
  if (!files.tls_client_ca.empty()) {
    warnings.push_back(
        "every client certificate that opens the public port opens the admin port too: see "
        "--admin-tls-client-ca and --admin-token-file");
  } else if (!admin_host.empty() || !files.token_file.empty()) {
    warnings.push_back(
        "everybody who reaches the admin port may patch: see --admin-token-file and "
        "--admin-tls-client-ca");
  }
  return warnings;
}

std::vector<std::string> EdgeWarnings(const std::string& grpc_version,
                                      const std::vector<std::string>& hosts,
                                      const std::vector<std::string>& admin_hosts) {
  if (BoundsFloods(grpc_version)) return {};
  const std::string host = FirstBeyondLoopback(hosts);
  const std::string admin_host = FirstBeyondLoopback(admin_hosts);
  if (host.empty() && admin_host.empty()) return {};
  return {absl::StrCat(
      host.empty() ? "--admin-listen " : "--listen ", host.empty() ? admin_host : host, ": gRPC ",
      grpc_version,
      " does not bound floods of HTTP/2 headers and resets: who reaches the port, even without a "
      "token, can take all memory; put the edge of deploy/edge before it and say --behind-proxy")};
}

}  // namespace olmoe::access
