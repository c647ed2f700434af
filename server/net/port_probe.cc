#include "server/net/port_probe.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glog/logging.h"

namespace olmoe::net {
namespace {

// The patience is counted in so many waits, so that the time in which the process was stopped
// counts as one of them.
constexpr int kSlices = 100;

SocketAddress UnixSocket(std::string_view path) {
  SocketAddress address;
  auto& name = reinterpret_cast<sockaddr_un&>(address.storage);
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  address.size = sizeof(name);
  return address;
}

bool TakesIpv4Too(int fd) {
  int only_ipv6 = 0;
  socklen_t size = sizeof(only_ipv6);
  return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, &size) == 0 && only_ipv6 == 0;
}

void SetLoopback(bool by_ipv4, sockaddr_in6* address) {
  address->sin6_addr = in6addr_loopback;
  if (!by_ipv4) return;
  constexpr in6_addr kMappedLoopback = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127, 0, 0, 1}}};
  address->sin6_addr = kMappedLoopback;
}

// The address that a client of `port` on this machine comes from, with any free port or name.
SocketAddress SourceFor(const SocketAddress& port) {
  SocketAddress source = port;
  if (port.family() == AF_INET) {
    reinterpret_cast<sockaddr_in&>(source.storage).sin_port = 0;
  } else if (port.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(source.storage).sin6_port = 0;
  } else {
    source.size = sizeof(sa_family_t);  // the kernel makes a name up
  }
  return source;
}

SocketAddress InternetSocket(int fd) {
  SocketAddress address;
  getsockname(fd, address.get(), &address.size);
  if (address.family() == AF_INET) {
    auto& ipv4 = reinterpret_cast<sockaddr_in&>(address.storage);
    if (ipv4.sin_addr.s_addr == htonl(INADDR_ANY)) ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    if (IN6_IS_ADDR_UNSPECIFIED(&ipv6.sin6_addr)) SetLoopback(TakesIpv4Too(fd), &ipv6);
  }
  return address;
}

}  // namespace

std::vector<SocketAddress> AddressesToReach(const Listener& listener) {
  std::vector<SocketAddress> out;
  for (const Listener::Address& address : listener.addresses()) {
    for (const int fd : address.sockets) {
      out.push_back(address.path.empty() ? InternetSocket(fd) : UnixSocket(address.path));
    }
  }
  return out;
}

// One probe's socket, which the acceptor knows by its name.
class PortProbe::Connection {
 public:
  Connection(const SocketAddress& port, Acceptor* acceptor)
      : acceptor_(acceptor),
        fd_(socket(port.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    if (port.family() == AF_INET6) SetOff(IPPROTO_IPV6, IPV6_V6ONLY);
    const SocketAddress source = SourceFor(port);
    if (bind(fd_, source.get(), source.size) != 0) return;
    if (getsockname(fd_, name_.get(), &name_.size) != 0) return;
    acceptor_->Expect(name_);
    is_expected_ = true;
    is_begun_ = connect(fd_, port.get(), port.size) == 0 || errno == EINPROGRESS;
  }
  ~Connection() {
    if (is_expected_) acceptor_->Forget(name_);
    if (fd_ < 0) return;
    // A reset, which leaves no TIME_WAIT behind every few seconds.
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  bool is_begun() const { return is_begun_; }
  // Without TLS gRPC greets each client; with TLS it ends what has no handshake.
  bool EndMyHalf() const { return shutdown(fd_, SHUT_WR) == 0; }
  bool HasAnswer() const {
    char byte = 0;
    return recv(fd_, &byte, 1, 0) >= 0;
  }

 private:
  void SetOff(int level, int option) {
    const int off = 0;
    setsockopt(fd_, level, option, &off, sizeof(off));
  }

  Acceptor* const acceptor_;
  const int fd_;
  SocketAddress name_;
  bool is_expected_ = false;
  bool is_begun_ = false;
};

PortProbe::PortProbe(const SocketAddress& port, Acceptor* acceptor, Options options)
    : port_(port),
      acceptor_(acceptor),
      options_(std::move(options)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

PortProbe::~PortProbe() {
  stop_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  thread_.join();
  close(wake_);
}

void PortProbe::Run() {
  bool answered = true;
  while (true) {
    const bool answers = Answers();
    if (stop_) return;
    if (answers != answered && options_.on_change) options_.on_change(answers);
    answered = answers;
    Await(-1, 0, options_.interval);
  }
}

bool PortProbe::Answers() {
  int slices = kSlices;
  while (slices > 0 && !stop_) {
    if (AnswersOnce(&slices)) return true;
    Await(-1, 0, options_.patience / kSlices);
    --slices;
  }
  return false;
}

bool PortProbe::AnswersOnce(int* slices) {
  const Connection connection(port_, acceptor_);
  if (!connection.is_begun()) return false;
  const auto await = [&](short events) {
    for (; *slices > 0 && !stop_; --*slices) {
      if (Await(connection.fd(), events, options_.patience / kSlices)) return true;
    }
    return false;
  };
  return await(POLLOUT) && connection.EndMyHalf() && await(POLLIN) && connection.HasAnswer();
}

bool PortProbe::Await(int fd, short events, absl::Duration limit) {
  pollfd waiting[] = {{.fd = wake_, .events = POLLIN, .revents = 0},
                      {.fd = fd, .events = events, .revents = 0}};
  return poll(waiting, 2, static_cast<int>(absl::ToInt64Milliseconds(limit))) > 0 &&
         waiting[1].revents != 0;
}

}  // namespace olmoe::net
