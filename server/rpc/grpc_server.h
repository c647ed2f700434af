#ifndef OLMOE_SERVER_RPC_GRPC_SERVER_H_
#define OLMOE_SERVER_RPC_GRPC_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/access/access.h"

namespace grpc {
class Server;
class ServerCredentials;
class Service;
}  // namespace grpc

namespace olmoe::rpc {

// One listening port with one service, health checking ("" = alive, the service's
// name = ready) and reflection, and limits on what a client may send and who may call.
// Thread-safe.
class GrpcServer {
 public:
  struct Options {
    std::string address;       // "127.0.0.1:50051"; port 0: any free one
    std::string service_name;  // for health checking
    access::PortAccess access = {};  // who may call; default: everybody, in plaintext
    int max_receive_bytes = 16 << 20;
    int max_metadata_bytes = 16 << 10;
    int max_concurrent_streams = 1024;  // of one connection
  };

  // Listens, ready from the start. Errors: UNAVAILABLE where the address can not be
  // listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Create(
      Options options, std::unique_ptr<grpc::Service> service);
  // Shuts down at once where Shutdown was not called.
  ~GrpcServer();

  int port() const { return port_; }

  // What health checking says about the service.
  void SetServing(bool serving);

  // Takes no new calls, waits for the open ones, cancels those left at the deadline
  // (health watches among them).
  void Shutdown(absl::Time deadline);

 private:
  GrpcServer(Options options, std::unique_ptr<grpc::Service> service);
  absl::Status Listen();

  const Options options_;
  const std::shared_ptr<grpc::ServerCredentials> credentials_;  // gRPC calls back into it
  const std::unique_ptr<grpc::Service> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;  // destroyed before the service
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GRPC_SERVER_H_
