#ifndef OLMOE_CLIENT_TRANSPORT_GRPC_STATUS_H_
#define OLMOE_CLIENT_TRANSPORT_GRPC_STATUS_H_

#include <string>

#include "absl/status/status.h"

namespace grpc {
class Status;
}
namespace google::rpc {
class Status;
}

namespace olmoe::client::transport {

// With `code` and `message`, and the details that came with them as payloads under their
// type URLs.
absl::Status WithDetails(int code, const std::string& message, const google::rpc::Status& from);

// `peer` says which address could not be reached, which gRPC does not always do.
absl::Status FromGrpc(const grpc::Status& status, const std::string& peer);

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_GRPC_STATUS_H_
