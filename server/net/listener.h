#ifndef OLMOE_SERVER_NET_LISTENER_H_
#define OLMOE_SERVER_NET_LISTENER_H_

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace olmoe::net {

// The sockets of one address to listen on: "127.0.0.1:50051", "[::]:0" (port 0: any free
// one), a host name (all its addresses, on one port), "unix:/run/olmoe/inference.sock".
// Closes them, and takes the Unix socket's file away, when it goes. Thread-compatible.
class Listener {
 public:
  // Takes the address; clients are refused until Listen. Errors: UNAVAILABLE where the address
  // is in use, is not this machine's, or names no host.
  static absl::StatusOr<Listener> Bind(const std::string& address);

  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  // Clients can connect from now on. Errors: UNAVAILABLE where another process was faster.
  absl::Status Listen();
  // Closes the sockets: whoever connects is refused, and so are those who wait to be accepted.
  void Close();

  // Non-blocking, close-on-exec, TCP_NODELAY; one for each address of the host. Owned by this.
  const std::vector<int>& sockets() const { return sockets_; }
  // 0 for a Unix socket.
  int port() const { return port_; }
  // As a client names it, with the port that was chosen.
  std::string address() const;

 private:
  Listener() = default;
  absl::Status BindInternet(const std::string& host, const std::string& port);
  absl::Status BindUnix();

  std::string host_;       // as given, empty for a Unix socket
  std::string path_;       // of a Unix socket
  std::string bound_path_;  // where it is bound until Listen moves it to path_
  int port_ = 0;
  std::vector<int> sockets_;
};

// Who connects, for limits of one client: an IPv4 address, the /64 of an IPv6 one (one host can
// have all of it), empty for a Unix socket, whose clients are all local.
std::string ClientAddress(const sockaddr_storage& peer);

}  // namespace olmoe::net

#endif  // OLMOE_SERVER_NET_LISTENER_H_
