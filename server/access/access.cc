#include "server/access/access.h"

#include <string>
#include <utility>
#include <vector>

namespace olmoe::access {
namespace {

// None where `path` is empty.
absl::StatusOr<std::vector<std::shared_ptr<TokenFile>>> OpenTokens(const std::string& path) {
  std::vector<std::shared_ptr<TokenFile>> files;
  if (path.empty()) return files;
  auto file = TokenFile::Open(path);
  if (!file.ok()) return file.status();
  files.push_back(*std::move(file));
  return files;
}

absl::Status OpenGates(const AccessFiles& files, Access* access) {
  const auto users = OpenTokens(files.token_file);
  if (!users.ok()) return users.status();
  const auto admins = OpenTokens(files.admin_token_file);
  if (!admins.ok()) return admins.status();
  if (!admins->empty()) {
    access->admin.gate = std::make_shared<const Gate>(
        Gate::Options{.port_name = "admin", .opening = *admins, .of_other_ports = *users});
  }
  if (!users->empty()) {
    Gate::Options inference{.port_name = "public", .opening = *users, .of_other_ports = {}};
    inference.opening.insert(inference.opening.end(), admins->begin(), admins->end());
    access->inference.gate = std::make_shared<const Gate>(std::move(inference));
  }
  return absl::OkStatus();
}

absl::Status OpenTls(const AccessFiles& files, const std::string& client_ca, PortAccess* port) {
  if (files.tls_cert.empty()) return absl::OkStatus();
  auto tls = TlsFiles::Open({.cert = files.tls_cert, .key = files.tls_key, .client_ca = client_ca});
  if (tls.ok()) port->tls = *std::move(tls);
  return tls.status();
}

}  // namespace

absl::StatusOr<Access> OpenAccess(const AccessFiles& files) {
  const std::string& admin_ca =
      files.admin_tls_client_ca.empty() ? files.tls_client_ca : files.admin_tls_client_ca;
  Access access;
  absl::Status status = OpenGates(files, &access);
  if (status.ok()) status = OpenTls(files, files.tls_client_ca, &access.inference);
  access.admin.tls = access.inference.tls;
  if (status.ok() && admin_ca != files.tls_client_ca) {
    status = OpenTls(files, admin_ca, &access.admin);
  }
  if (!status.ok()) return status;
  return access;
}

}  // namespace olmoe::access
