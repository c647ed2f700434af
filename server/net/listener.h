#ifndef OLMOE_SERVER_NET_LISTENER_H_
#define OLMOE_SERVER_NET_LISTENER_H_

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace olmoe::net {

// The sockets of one or several addresses to listen on: "127.0.0.1:50051", "[::]:0" (port 0: any
// free one), a host name (all its addresses, on one port), "unix:/run/olmoe/inference.sock".
// Closes them, and takes the Unix sockets' files away, when it goes. Thread-compatible.
class Listener {
 public:
  // An address that is taken.
  struct Address {
    std::string host;        // as given, empty for a Unix socket
    std::string path;        // of a Unix socket
    std::string bound_path;  // where it is bound until Listen moves it to path
    int port = 0;            // 0 for a Unix socket
    std::vector<int> sockets;

    // As a client names it, with the port that was chosen.
    std::string name() const;
  };

  // Takes the addresses; clients are refused until Listen. Errors: UNAVAILABLE where an address
  // is in use, is not this machine's, or names no host.
  static absl::StatusOr<Listener> Bind(const std::vector<std::string>& addresses);
  static absl::StatusOr<Listener> Bind(const std::string& address);

  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  // Clients can connect from now on. Errors: UNAVAILABLE where another process was faster.
  absl::Status Listen();
  // Closes the sockets: whoever connects is refused, and so are those who wait to be accepted.
  void Close();

  // Non-blocking, close-on-exec, TCP_NODELAY; one for each address of a host. Owned by this.
  std::vector<int> sockets() const;
  const std::vector<Address>& addresses() const { return addresses_; }
  // Of the first address that has one; 0 where all are Unix sockets.
  int port() const;
  // The names of all.
  std::string name() const;

 private:
  Listener() = default;

  std::vector<Address> addresses_;
};

// Who connects, for limits of one client: an IPv4 address, the /64 of an IPv6 one (one host can
// have all of it), empty for a Unix socket, whose clients are all local.
std::string ClientAddress(const sockaddr_storage& peer);
// The same of an address in text, "127.0.0.1" or "::1"; empty for others.
std::string ClientAddress(const std::string& address);

// Whose call a proxy passes on: the last address of the (last) field x-forwarded-for, which is the
// proxy's own word; those before it are the client's. Empty where it is none.
std::string ForwardedClient(std::string_view forwarded_for);

}  // namespace olmoe::net

#endif  // OLMOE_SERVER_NET_LISTENER_H_
