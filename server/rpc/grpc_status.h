// The one place where an absl::Status becomes what goes over the wire.
#ifndef OLMOE_SERVER_RPC_GRPC_STATUS_H_
#define OLMOE_SERVER_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace olmoe::rpc {

// The same code, message and details. Messages and details are cut (and say so)
// where they would not fit into the trailing metadata that clients accept, 8 KiB
// by default: a client that refuses the trailers would never learn the code.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GRPC_STATUS_H_
