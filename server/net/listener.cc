#include "server/net/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace olmoe::net {
namespace {

constexpr char kUnixPrefix[] = "unix:";
constexpr mode_t kUnixMode = 0660;  // a proxy of the same group may connect

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", why));
}

std::string WhyOfErrno(int error) {
  if (error == EADDRINUSE) return "the port is in use";
  if (error == EADDRNOTAVAIL) return "the address does not belong to this machine";
  return std::strerror(error);
}

int NewSocket(int family) { return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

void SetOption(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof(value));
}

void SetPort(int port, sockaddr* address) {
  const in_port_t in_network_order = htons(static_cast<uint16_t>(port));
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = in_network_order;
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = in_network_order;
  }
}

int PortOf(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

sockaddr_un UnixAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

// A file that a process which ended has left does not answer.
bool IsAnswered(const std::string& path) {
  const int fd = NewSocket(AF_UNIX);
  const sockaddr_un address = UnixAddress(path);
  const bool answered =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EAGAIN;  // its queue is full
  close(fd);
  return answered;
}

// A listener may replace a socket's file, and nothing else.
absl::Status CheckPathIsFree(const std::string& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) return CannotListen(absl::StrCat(kUnixPrefix, path), "it is a file");
  if (IsAnswered(path)) {
    return CannotListen(absl::StrCat(kUnixPrefix, path), "the socket is in use");
  }
  return absl::OkStatus();
}

absl::Status BindInternet(const std::string& port, Listener::Address* out) {
  std::string name = out->host;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string address = absl::StrCat(out->host, ":", port);
  const int error = getaddrinfo(name.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int fd = NewSocket(one->ai_family);
    if (fd < 0 && errno == EAFNOSUPPORT && one->ai_next != nullptr) continue;
    if (fd < 0) return CannotListen(address, WhyOfErrno(errno));
    out->sockets.push_back(fd);
    // A port that was chosen for the first address is that of the others.
    if (out->port != 0) SetPort(out->port, one->ai_addr);
    // Connections of a server that has ended do not keep its port; but a socket that asks for any
    // port must not be given one that somebody else has taken and does not listen on yet.
    if (port != "0") SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (one->ai_family == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, name != "::");
    SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // what it accepts inherits it
    if (bind(fd, one->ai_addr, one->ai_addrlen) != 0) {
      return CannotListen(address, WhyOfErrno(errno));
    }
    if (out->port == 0) out->port = PortOf(fd);
  }
  return absl::OkStatus();
}

// Bound beside its place and moved there by Listen: what stands there before is in use by somebody
// or replaced at once, and no client meets a socket that does not listen.
absl::Status BindUnix(Listener::Address* out) {
  const std::string bound_path = absl::StrCat(out->path, ".", getpid());
  if (out->path.empty() || bound_path.size() >= sizeof(sockaddr_un::sun_path)) {
    return CannotListen(out->name(), "a path has 1 to 100 bytes");
  }
  if (absl::Status status = CheckPathIsFree(out->path); !status.ok()) return status;
  out->sockets.push_back(NewSocket(AF_UNIX));
  unlink(bound_path.c_str());
  const sockaddr_un name = UnixAddress(bound_path);
  if (bind(out->sockets[0], reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0 ||
      chmod(bound_path.c_str(), kUnixMode) != 0) {
    return CannotListen(out->name(), std::strerror(errno));
  }
  out->bound_path = bound_path;
  return absl::OkStatus();
}

absl::Status BindAddress(const std::string& text, Listener::Address* out) {
  if (text.starts_with(kUnixPrefix)) {
    out->path = text.substr(std::strlen(kUnixPrefix));
    return BindUnix(out);
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return CannotListen(text, "it is not HOST:PORT");
  out->host = text.substr(0, colon);
  return BindInternet(text.substr(colon + 1), out);
}

absl::Status ListenOn(Listener::Address* address) {
  for (const int fd : address->sockets) {
    // What it accepts inherits it, and so keeps the port from no later server.
    SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (listen(fd, SOMAXCONN) != 0) return CannotListen(address->name(), WhyOfErrno(errno));
  }
  if (address->bound_path.empty()) return absl::OkStatus();
  if (absl::Status status = CheckPathIsFree(address->path); !status.ok()) return status;
  if (rename(address->bound_path.c_str(), address->path.c_str()) != 0) {
    return CannotListen(address->name(), std::strerror(errno));
  }
  address->bound_path = address->path;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Listener> Listener::Bind(const std::vector<std::string>& addresses) {
  Listener listener;
  for (const std::string& address : addresses) {
    const absl::Status status = BindAddress(address, &listener.addresses_.emplace_back());
    if (!status.ok()) return status;
  }
  return listener;
}

absl::StatusOr<Listener> Listener::Bind(const std::string& address) {
  return Bind(std::vector<std::string>{address});
}

absl::Status Listener::Listen() {
  for (Address& address : addresses_) {
    if (absl::Status status = ListenOn(&address); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void Listener::Close() {
  for (Address& address : addresses_) {
    // The file first: once the socket is closed, it may be another server's.
    const std::string path = std::exchange(address.bound_path, "");
    if (!path.empty()) unlink(path.c_str());
    for (const int fd : std::exchange(address.sockets, {})) close(fd);
  }
}

Listener::Listener(Listener&& other) noexcept { *this = std::move(other); }

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this == &other) return *this;
  Close();
  addresses_ = std::exchange(other.addresses_, {});
  return *this;
}

Listener::~Listener() { Close(); }

std::vector<int> Listener::sockets() const {
  std::vector<int> sockets;
  for (const Address& address : addresses_) {
    sockets.insert(sockets.end(), address.sockets.begin(), address.sockets.end());
  }
  return sockets;
}

int Listener::port() const {
  for (const Address& address : addresses_) {
    if (address.port != 0) return address.port;
  }
  return 0;
}

std::string Listener::name() const {
  return absl::StrJoin(addresses_, ", ", [](std::string* out, const Address& address) {
    absl::StrAppend(out, address.name());
  });
}

std::string Listener::Address::name() const {
  return path.empty() ? absl::StrCat(host, ":", port) : absl::StrCat(kUnixPrefix, path);
}

std::string ClientAddress(const sockaddr_storage& peer) {
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(peer).sin_addr, text, sizeof(text));
  } else if (peer.ss_family == AF_INET6) {
    in6_addr address = reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
      inet_ntop(AF_INET, &address.s6_addr[12], text, sizeof(text));
    } else {
      std::memset(&address.s6_addr[8], 0, 8);
      inet_ntop(AF_INET6, &address, text, sizeof(text));
    }
  }
  return text;
}

std::string ClientAddress(const std::string& address) {
  sockaddr_storage peer = {};
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(peer);
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(peer);
  if (inet_pton(AF_INET, address.c_str(), &ipv4.sin_addr) == 1) {
    ipv4.sin_family = AF_INET;
  } else if (inet_pton(AF_INET6, address.c_str(), &ipv6.sin6_addr) == 1) {
    ipv6.sin6_family = AF_INET6;
  } else {
    return "";
  }
  return ClientAddress(peer);
}

std::string ForwardedClient(std::string_view forwarded_for) {
  std::string address(forwarded_for.substr(forwarded_for.rfind(',') + 1));
  absl::StripAsciiWhitespace(&address);
  return ClientAddress(address);
}

}  // namespace olmoe::net
