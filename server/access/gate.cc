#include "server/access/gate.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace olmoe::access {
namespace {

constexpr std::string_view kHealth = "/grpc.health.v1.Health/";

// The token, or nullopt where `authorization` is not one "Bearer TOKEN". The scheme is
// written in any case (RFC 7235).
std::optional<std::string_view> BearerToken(const Gate::Authorization& authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() != 1) return std::nullopt;
  std::string_view field = authorization[0];
  if (!absl::EqualsIgnoreCase(std::string(field.substr(0, kScheme.size())), kScheme.data())) {
    return std::nullopt;
  }
  field.remove_prefix(kScheme.size());
  while (field.starts_with(' ')) field.remove_prefix(1);
  return field;
}

std::optional<std::string> NameIn(const std::vector<std::shared_ptr<TokenFile>>& files,
                                  std::string_view token) {
  std::optional<std::string> name;
  for (const auto& file : files) {
    if (auto found = file->NameOf(token); found && !name) name = std::move(found);
  }
  return name;
}

}  // namespace

std::string PrintableName(std::string_view name) {
  constexpr size_t kMaxBytes = 64;
  std::string out(name.substr(0, kMaxBytes));
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

absl::Status Gate::Check(std::string_view method, const Authorization& authorization) const {
  if (method.starts_with(kHealth)) return absl::OkStatus();
  const auto token = BearerToken(authorization);
  if (!token) {
    return absl::UnauthenticatedError(
        absl::StrCat("the ", options_.port_name,
                     " port asks for a token: send one field authorization: Bearer TOKEN"));
  }
  if (NameIn(options_.opening, *token)) return absl::OkStatus();
  if (NameIn(options_.of_other_ports, *token)) {
    return absl::PermissionDeniedError(
        absl::StrCat("this token does not open the ", options_.port_name, " port"));
  }
  return absl::UnauthenticatedError(
      absl::StrCat("the ", options_.port_name, " port does not know this token"));
}

std::string Gate::TokenName(const Authorization& authorization) const {
  const auto token = BearerToken(authorization);
  if (!token) return "";
  return NameIn(options_.opening, *token).value_or("");
}

}  // namespace olmoe::access
