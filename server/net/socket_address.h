#ifndef OLMOE_SERVER_NET_SOCKET_ADDRESS_H_
#define OLMOE_SERVER_NET_SOCKET_ADDRESS_H_

#include <sys/socket.h>

#include <string>

namespace olmoe::net {

// An address as the socket calls give and take it. Thread-compatible.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  // To compare two addresses of one family.
  std::string bytes() const { return {reinterpret_cast<const char*>(&storage), size}; }
};

// As gRPC names the client of a connection, grpc::ServerContextBase::peer():
// "ipv4:127.0.0.1:54321" (also where an IPv6 socket took it), "ipv6:%5B::1%5D:54321". Empty for
// a Unix socket, where all clients have the same name.
std::string GrpcPeerName(const SocketAddress& peer);

// Whether the client is on this machine: loopback or a Unix socket.
bool IsOnThisMachine(const SocketAddress& peer);

}  // namespace olmoe::net

#endif  // OLMOE_SERVER_NET_SOCKET_ADDRESS_H_
