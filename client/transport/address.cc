#include "client/transport/address.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe::client::transport {
namespace {

// Schemes of gRPC's resolvers.
bool IsNameOfGrpc(const std::string& text) {
  for (const char* scheme : {"unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:"}) {
    if (absl::StartsWith(text, scheme)) return true;
  }
  return false;
}

bool IsPort(const std::string& text) {
  int port = 0;
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos &&
         absl::SimpleAtoi(text, &port) && port >= 1 && port <= 65535;
}

struct Parts {
  std::string host;  // an IPv6 address in brackets
  std::string port;  // "" where there is none
};

Parts Split(const std::string& text) {
  const size_t end_of_v6 = text.rfind(']');
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || (end_of_v6 != std::string::npos && colon < end_of_v6)) {
    return {text, ""};
  }
  return {text.substr(0, colon), text.substr(colon + 1)};
}

bool IsBareIpv6(const std::string& host) { return absl::StrContains(host, ':') && host[0] != '['; }

// HOST:PORT of `text` as well as it can be made out: without a path, with a port.
std::string RightForm(const std::string& text, int port) {
  const std::string bare = text.substr(0, text.find('/'));
  Parts parts = Split(bare);
  if (IsBareIpv6(parts.host)) parts = {absl::StrCat("[", bare, "]"), ""};
  if (parts.host.empty()) parts.host = "localhost";
  return absl::StrCat(parts.host, ":", IsPort(parts.port) ? parts.port : absl::StrCat(port));
}

// The host, without the name of a resolver and without the port.
std::string HostOf(std::string address) {
  for (const std::string scheme : {"dns:", "ipv4:", "ipv6:"}) {
    if (!absl::StartsWith(address, scheme)) continue;
    address = address.substr(scheme.size());
    // "//AUTHORITY/HOST"
    if (absl::StartsWith(address, "//")) address = address.substr(address.rfind('/') + 1);
  }
  return absl::AsciiStrToLower(Split(address).host);
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// As gRPC 1.51: the first list that is set counts, and its entries are ends of host names.
bool IsExempt(const std::string& host) {
  std::string list = Variable("no_grpc_proxy");
  if (list.empty()) list = Variable("no_proxy");
  const std::vector<std::string> ends = absl::StrSplit(list, ',', absl::SkipWhitespace());
  return std::any_of(ends.begin(), ends.end(), [&host](const std::string& end) {
    return absl::EndsWithIgnoreCase(host, absl::StripAsciiWhitespace(end));
  });
}

}  // namespace

std::string CheckAddress(const std::string& text, int port) {
  if (text.empty()) return absl::StrCat("is empty; write HOST:PORT, such as localhost:", port);
  if (IsNameOfGrpc(text)) return "";
  const std::string quoted = absl::StrCat("\"", text, "\"");
  if (const size_t scheme_end = text.find("://"); scheme_end != std::string::npos) {
    const std::string scheme = text.substr(0, scheme_end);
    const bool secure = scheme == "https" || scheme == "grpcs";
    return absl::StrCat(quoted, " has a scheme; write ",
                        RightForm(text.substr(scheme_end + 3), port),
                        secure ? ", and --tls or --ca FILE for TLS" : "");
  }
  if (text[0] == '/' || text[0] == '.') {
    return absl::StrCat(quoted, " looks like a path; write unix:", text, " for a socket");
  }
  const Parts parts = Split(text);
  const bool is_plain = text.find_first_of("/ \t\r\n@") == std::string::npos;
  if (!parts.host.empty() && !IsBareIpv6(parts.host) && IsPort(parts.port) && is_plain) return "";
  return absl::StrCat(
      quoted, parts.port.empty() || IsBareIpv6(parts.host) ? " has no port" : " is not HOST:PORT",
      "; write ", RightForm(text, port));
}

bool StaysOnThisMachine(const std::string& address) {
  if (absl::StartsWith(address, "unix:") || absl::StartsWith(address, "unix-abstract:")) {
    return true;
  }
  const std::string host = HostOf(address);
  return host == "localhost" || host == "[::1]" ||
         (absl::StartsWith(host, "127.") &&
          host.find_first_not_of("0123456789.") == std::string::npos);
}

std::optional<std::string> ProxyFor(const std::string& address) {
  if (StaysOnThisMachine(address) || IsExempt(HostOf(address))) return std::nullopt;
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    std::string proxy = Variable(name);
    if (proxy.empty()) continue;
    if (const size_t scheme = proxy.find("://"); scheme != std::string::npos) {
      proxy = proxy.substr(scheme + 3);
    }
    if (const size_t user = proxy.rfind('@'); user != std::string::npos) {
      proxy = proxy.substr(user + 1);
    }
    return absl::StrCat(proxy.substr(0, proxy.find('/')), " of ", name);
  }
  return std::nullopt;
}

}  // namespace olmoe::client::transport
