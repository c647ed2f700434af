#include "server/net/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace olmoe::net {
namespace {

// The address without its port, by which IPv4 looks the same on an IPv6 socket.
struct Host {
  in_addr ipv4 = {};
  in6_addr ipv6 = {};
  bool is_ipv4 = false;
  uint16_t port = 0;
  uint32_t scope = 0;
};

Host HostOf(const SocketAddress& address) {
  Host host;
  if (address.family() == AF_INET) {
    const auto& from = reinterpret_cast<const sockaddr_in&>(address.storage);
    host.is_ipv4 = true;
    host.ipv4 = from.sin_addr;
    host.port = ntohs(from.sin_port);
    return host;
  }
  const auto& from = reinterpret_cast<const sockaddr_in6&>(address.storage);
  host.ipv6 = from.sin6_addr;
  host.port = ntohs(from.sin6_port);
  host.scope = from.sin6_scope_id;
  host.is_ipv4 = IN6_IS_ADDR_V4MAPPED(&host.ipv6);
  if (host.is_ipv4) std::memcpy(&host.ipv4, &host.ipv6.s6_addr[12], sizeof(host.ipv4));
  return host;
}

bool IsInternet(const SocketAddress& address) {
  return address.family() == AF_INET || address.family() == AF_INET6;
}

}  // namespace

std::string GrpcPeerName(const SocketAddress& peer) {
  if (!IsInternet(peer)) return "";
  const Host host = HostOf(peer);
  char text[INET6_ADDRSTRLEN] = "";
  if (host.is_ipv4) {
    inet_ntop(AF_INET, &host.ipv4, text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", host.port);
  }
  inet_ntop(AF_INET6, &host.ipv6, text, sizeof(text));
  const std::string scope = host.scope == 0 ? "" : absl::StrCat("%25", host.scope);
  return absl::StrCat("ipv6:%5B", text, scope, "%5D:", host.port);
}

bool IsOnThisMachine(const SocketAddress& peer) {
  if (!IsInternet(peer)) return true;
  const Host host = HostOf(peer);
  constexpr uint32_t kLoopbackNet = 127;
  return host.is_ipv4 ? ntohl(host.ipv4.s_addr) >> 24 == kLoopbackNet
                      : IN6_IS_ADDR_LOOPBACK(&host.ipv6) != 0;
}

}  // namespace olmoe::net
