#ifndef OLMOE_SERVER_RPC_GRPC_SERVER_H_
#define OLMOE_SERVER_RPC_GRPC_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/access/access.h"
#include "server/net/acceptor.h"
#include "server/net/listener.h"
#include "server/net/port_probe.h"

namespace grpc {
class Server;
class ServerCredentials;
class Service;
namespace experimental {
class ExternalConnectionAcceptor;
}
}  // namespace grpc

namespace olmoe::rpc {

// One port with one service, health checking ("" = alive, the service's name = ready) and
// reflection, and limits on what a client may send and who may call. Accepts its connections
// itself: gRPC gets those that net::Acceptor lets in. Requests may not be compressed: 1.2 GB of
// zeros fit into 1.2 MB. Thread-safe.
class GrpcServer {
 public:
  struct Options {
    std::string service_name = {};  // for health checking
    access::PortAccess access = {};  // who may call; default: everybody, in plaintext
    net::ConnectionLimits connections = {};
    net::PortProbe::Options probe = {};  // tells when the port falls silent and answers again
    int max_receive_bytes = 16 << 20;
    int max_metadata_bytes = 16 << 10;
    int max_concurrent_streams = 1024;  // of one connection
  };

  // Listens, ready from the start. Errors: UNAVAILABLE where another process was faster to
  // listen on the address.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Create(net::Listener listener, Options options,
                                                            std::unique_ptr<grpc::Service> service);
  // Shuts down at once where Shutdown was not called.
  ~GrpcServer();

  // See net::Listener::port.
  int port() const { return port_; }

  // What health checking says about the service.
  void SetServing(bool serving);

  // Ends a client's connection by force, with all its calls; `peer` is the
  // grpc::CallbackServerContext::peer() of one of them. It frees what waits for a client that does
  // not read, which to cancel the call does not. Clients of a Unix socket are not told apart:
  // nothing happens to theirs. Any thread, a handler's too; does not block.
  void Disconnect(const std::string& peer) { acceptor_->ShutDownPeer(peer); }

  // Takes no new connections and ends all others by force: who has an open call or begins one now
  // learns that the server is unavailable, where gRPC's own shutdown says that it was cancelled.
  void Disconnect();

  // Takes no new connections and calls, waits for the open calls, cancels those left at the
  // deadline (health watches among them).
  void Shutdown(absl::Time deadline);

 private:
  GrpcServer(Options options, std::unique_ptr<grpc::Service> service);
  absl::Status Start(net::Listener listener);
  void HandOver(int fd);

  const Options options_;
  const std::shared_ptr<grpc::ServerCredentials> credentials_;  // gRPC calls back into it
  const std::unique_ptr<grpc::Service> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;  // destroyed before the service
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> door_;  // of gRPC
  std::unique_ptr<net::Acceptor> acceptor_;
  std::vector<std::unique_ptr<net::PortProbe>> probes_;  // of each socket; none once shut down
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GRPC_SERVER_H_
