#ifndef OLMOE_SERVER_NET_ACCEPTOR_H_
#define OLMOE_SERVER_NET_ACCEPTOR_H_

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/net/listener.h"
#include "server/net/socket_address.h"

namespace olmoe::net {

// How many connections of one port may be open.
struct ConnectionLimits {
  int in_all = 1024;
  int per_client = 256;      // of one ClientAddress; those of a Unix socket are not told apart
  int kept_for_machine = 4;  // of all: for clients on this machine alone
};

// Accepts the connections of one port on a thread of its own and hands them on: so many in all
// and so many of one client; what comes beyond that is reset at once. No error of accept ends it:
// while descriptors or memory are short it pauses, and clients wait in the socket's queue.
// (gRPC 1.51's own listener stops for ever at the first such error, CVE-2023-4785.)
//
// A connection counts until whoever took its descriptor has closed it. To see that, the acceptor
// holds a duplicate, so that each connection costs two descriptors. REQUIRES: whoever takes a
// descriptor shuts the connection down before it closes it, as gRPC does; the connection of one
// that only closes lives on until its client ends it.
//
// Thread-safe.
class Acceptor {
 public:
  struct Options {
    ConnectionLimits limits = {};
    absl::Duration pause = absl::Milliseconds(100);  // after an error of accept
    // Owns the descriptor. Called on the acceptor's thread, one at a time; must not block.
    std::function<void(int fd)> on_connection = {};
  };

  // Listens. Errors: UNAVAILABLE, as of Listener::Listen.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Start(Listener listener, Options options);
  // Also stops to accept. Connections go on.
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Closes the listening sockets. When it has returned, on_connection is not called any more.
  void StopAccepting();

  // Ends the connection of a client by force, although it may not read what is sent to it;
  // `peer` is what gRPC calls it, see GrpcPeerName. Nothing happens where there is none such, as
  // for Unix sockets.
  void ShutDownPeer(const std::string& peer);
  // The same for all connections.
  void ShutDownAll();

  // The connection that comes from `probe` is let in above all limits. Until Forget.
  void Expect(const SocketAddress& probe);
  void Forget(const SocketAddress& probe);

  // That count, now.
  int connections() const;

 private:
  struct Connection {
    int fd = -1;  // whoever took it owns it: this number may mean something else by now
    dev_t device = 0;
    ino_t inode = 0;
    std::string client;
    std::string peer;
    bool counts = true;
  };
  using Clock = std::chrono::steady_clock;

  Acceptor(Listener listener, Options options);
  absl::Status Open();
  void Wake();

  // The acceptor's thread.
  void Run();
  int WaitMilliseconds() const;
  void OnEvent(int fd);
  void AcceptSome(int listening);
  // Both: false and errno where descriptors or memory are short.
  bool Admit(int fd, const SocketAddress& peer);
  bool Watch(int fd, Connection connection);
  void Pause(int error);
  void ArmListener(uint32_t events);
  void ForgetEnded();
  void EndAccepting();

  // Why there is no room for it; empty: there is.
  std::string WhyFull(const SocketAddress& peer, const std::string& client) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Add(int duplicate, Connection connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Remove(int duplicate) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  int epoll_ = -1;  // both are constant after Open
  int wake_ = -1;
  std::atomic<bool> stop_accepting_ = false;
  std::atomic<bool> stop_ = false;
  absl::Notification accepting_ended_;

  // Acceptor's thread only, once it runs.
  Listener listener_;
  std::vector<int> listening_;  // the sockets of listener_
  bool paused_ = false;
  Clock::time_point resume_at_;
  std::vector<int> ending_;  // duplicates of connections that are shut, and may be open
  std::chrono::milliseconds look_again_{0};  // how soon at those

  mutable absl::Mutex mu_;
  absl::flat_hash_map<int, Connection> connections_ ABSL_GUARDED_BY(mu_);  // by duplicate
  absl::flat_hash_map<std::string, int> by_peer_ ABSL_GUARDED_BY(mu_);     // duplicates
  absl::flat_hash_map<std::string, int> per_client_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> probes_ ABSL_GUARDED_BY(mu_);
  int num_counted_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread thread_;  // last: it uses everything above
};

}  // namespace olmoe::net

#endif  // OLMOE_SERVER_NET_ACCEPTOR_H_
