// What those share that call gRPC: RpcClient and the calls of a benchmark.
#ifndef OLMOE_CLIENT_TRANSPORT_CHANNEL_H_
#define OLMOE_CLIENT_TRANSPORT_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/transport/credentials.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"

namespace olmoe::client::transport {

// A channel to `address`, "host:port", by TLS or plaintext as the credentials say; every
// call on it carries their token. Connects when it is used.
std::shared_ptr<grpc::Channel> Connect(const std::string& address, const Credentials& credentials);

// `timeout` from now on; no effect where it is infinite.
void SetDeadline(absl::Duration timeout, grpc::ClientContext* context);

// With `code` and `message`, and the details that came with them as payloads under their
// type URLs.
absl::Status WithDetails(int code, const std::string& message, const google::rpc::Status& from);

// Where a call goes.
struct Peer {
  std::string address;
  bool is_admin = false;  // RoutingAdminService, on the admin port
  bool tls = false;
};

// Says what gRPC does not: which address could not be reached, through which proxy, and what is
// likely there instead of the service that was called.
absl::Status FromGrpc(const grpc::Status& status, const Peer& peer);

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_CHANNEL_H_
