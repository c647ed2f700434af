#ifndef OLMOE_SERVER_NET_PORT_PROBE_H_
#define OLMOE_SERVER_NET_PORT_PROBE_H_

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "server/net/acceptor.h"
#include "server/net/listener.h"
#include "server/net/socket_address.h"

namespace olmoe::net {

// Where a client on this machine reaches each socket of a listener: by loopback one that takes all
// addresses.
std::vector<SocketAddress> AddressesToReach(const Listener& listener);

// Asks a port of this process now and then, as a client does, whether it takes connections and
// whether who gets them is alive: a probe connects, ends its half of the connection and waits for
// any bytes or for the end. The acceptor lets it in above its limits, so a port that is full
// answers; one whose acceptor or owner is stuck, that lacks descriptors, or whose Unix socket's
// file is gone does not. Time in which the whole process stands still does not count.
// Thread-safe.
class PortProbe {
 public:
  struct Options {
    absl::Duration interval = absl::Seconds(2);
    absl::Duration patience = absl::Seconds(10);  // a port that has not answered by then is silent
    // Called on the probe's thread when the port falls silent and when it answers again.
    std::function<void(bool answers)> on_change = {};
  };

  // `acceptor` is that of `port`, and outlives this.
  PortProbe(const SocketAddress& port, Acceptor* acceptor, Options options);
  // Gives a probe under way up.
  ~PortProbe();
  PortProbe(const PortProbe&) = delete;
  PortProbe& operator=(const PortProbe&) = delete;

 private:
  class Connection;

  void Run();
  // Whether the port has answered in time; tries again where it cannot connect.
  bool Answers();
  bool AnswersOnce(int* slices);
  // Waits for at most a slice of the patience; `events` of `fd`, -1 for none.
  bool Await(int fd, short events, absl::Duration limit);

  const SocketAddress port_;
  Acceptor* const acceptor_;
  const Options options_;
  const int wake_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe::net

#endif  // OLMOE_SERVER_NET_PORT_PROBE_H_
