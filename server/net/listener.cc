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

#include "absl/strings/str_cat.h"

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

}  // namespace

absl::StatusOr<Listener> Listener::Bind(const std::string& address) {
  Listener listener;
  absl::Status status;
  if (address.starts_with(kUnixPrefix)) {
    listener.path_ = address.substr(std::strlen(kUnixPrefix));
    status = listener.BindUnix();
  } else if (const size_t colon = address.rfind(':'); colon != std::string::npos) {
    status = listener.BindInternet(address.substr(0, colon), address.substr(colon + 1));
  } else {
    status = CannotListen(address, "it is not HOST:PORT");
  }
  if (!status.ok()) return status;
  return listener;
}

absl::Status Listener::BindInternet(const std::string& host, const std::string& port) {
  host_ = host;
  std::string name = host;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string address = absl::StrCat(host, ":", port);
  const int error = getaddrinfo(name.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int fd = NewSocket(one->ai_family);
    if (fd < 0 && errno == EAFNOSUPPORT && one->ai_next != nullptr) continue;
    if (fd < 0) return CannotListen(address, WhyOfErrno(errno));
    sockets_.push_back(fd);
    // A port that was chosen for the first address is that of the others.
    if (port_ != 0) SetPort(port_, one->ai_addr);
    // Connections of a server that has ended do not keep its port; but a socket that asks for any
    // port must not be given one that somebody else has taken and does not listen on yet.
    if (port != "0") SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (one->ai_family == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, name != "::");
    SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // what it accepts inherits it
    if (bind(fd, one->ai_addr, one->ai_addrlen) != 0) {
      return CannotListen(address, WhyOfErrno(errno));
    }
    if (port_ == 0) port_ = PortOf(fd);
  }
  return absl::OkStatus();
}

// Bound beside its place and moved there by Listen: what stands there before is in use by somebody
// or replaced at once, and no client meets a socket that does not listen.
absl::Status Listener::BindUnix() {
  const std::string bound_path = absl::StrCat(path_, ".", getpid());
  if (path_.empty() || bound_path.size() >= sizeof(sockaddr_un::sun_path)) {
    return CannotListen(address(), "a path has 1 to 100 bytes");
  }
  if (absl::Status status = CheckPathIsFree(path_); !status.ok()) return status;
  sockets_.push_back(NewSocket(AF_UNIX));
  unlink(bound_path.c_str());
  const sockaddr_un name = UnixAddress(bound_path);
  if (bind(sockets_[0], reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0 ||
      chmod(bound_path.c_str(), kUnixMode) != 0) {
    return CannotListen(address(), std::strerror(errno));
  }
  bound_path_ = bound_path;
  return absl::OkStatus();
}

absl::Status Listener::Listen() {
  for (const int fd : sockets_) {
    // What it accepts inherits it, and so keeps the port from no later server.
    SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (listen(fd, SOMAXCONN) != 0) return CannotListen(address(), WhyOfErrno(errno));
  }
  if (bound_path_.empty()) return absl::OkStatus();
  if (absl::Status status = CheckPathIsFree(path_); !status.ok()) return status;
  if (rename(bound_path_.c_str(), path_.c_str()) != 0) {
    return CannotListen(address(), std::strerror(errno));
  }
  bound_path_ = path_;
  return absl::OkStatus();
}

// The file first: once the socket is closed, it may be another server's.
void Listener::Close() {
  if (const std::string path = std::exchange(bound_path_, ""); !path.empty()) unlink(path.c_str());
  for (const int fd : std::exchange(sockets_, {})) close(fd);
}

Listener::Listener(Listener&& other) noexcept { *this = std::move(other); }

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this == &other) return *this;
  Close();
  host_ = std::move(other.host_);
  path_ = std::move(other.path_);
  port_ = other.port_;
  sockets_ = std::exchange(other.sockets_, {});
  bound_path_ = std::exchange(other.bound_path_, "");
  return *this;
}

Listener::~Listener() { Close(); }

std::string Listener::address() const {
  return path_.empty() ? absl::StrCat(host_, ":", port_) : absl::StrCat(kUnixPrefix, path_);
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

}  // namespace olmoe::net
