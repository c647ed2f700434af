// Clients of a port, by hand.
#ifndef OLMOE_TESTS_NET_SOCKETS_H_
#define OLMOE_TESTS_NET_SOCKETS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "server/net/socket_address.h"

namespace olmoe::net {

// Thread-compatible.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() { Close(); }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }
  // Waits for the other side. Empty: it has ended the connection, in order or not.
  std::string Read() const {
    char bytes[64];
    const ssize_t size = recv(fd_, bytes, sizeof(bytes), 0);
    return size <= 0 ? "" : std::string(bytes, static_cast<size_t>(size));
  }
  bool Write(const std::string& bytes) const {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  // Whether Read would return.
  bool IsReadable() const {
    pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&waiting, 1, 0) == 1;
  }
  SocketAddress Name() const {
    SocketAddress name;
    getsockname(fd_, name.get(), &name.size);
    return name;
  }

 private:
  int fd_;
};

inline SocketAddress Ipv4(const char* host, int port) {
  SocketAddress address;
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(address.storage);
  address.size = sizeof(ipv4);
  ipv4.sin_family = AF_INET;
  ipv4.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, host, &ipv4.sin_addr);
  return address;
}

inline SocketAddress Ipv6(const char* host, int port) {
  SocketAddress address;
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  address.size = sizeof(ipv6);
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET6, host, &ipv6.sin6_addr);
  return address;
}

inline SocketAddress Unix(const std::string& path) {
  SocketAddress address;
  auto& name = reinterpret_cast<sockaddr_un&>(address.storage);
  address.size = sizeof(name);
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  return address;
}

// Not connected (fd -1) where that fails.
inline Socket Connect(const SocketAddress& to, const SocketAddress* from = nullptr) {
  Socket made(socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool connected = made.fd() >= 0 &&
                         (from == nullptr || bind(made.fd(), from->get(), from->size) == 0) &&
                         connect(made.fd(), to.get(), to.size) == 0;
  return connected ? std::move(made) : Socket();
}

}  // namespace olmoe::net

#endif  // OLMOE_TESTS_NET_SOCKETS_H_
