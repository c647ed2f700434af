// Bytes <-> messages. The services are registered with raw bytes, because gRPC
// 1.51 answers a request that does not parse (ill-formed UTF-8 in a `string`
// field is one) with an UNIMPLEMENTED that says nothing, and ends a stream at it.
#ifndef OLMOE_SERVER_RPC_WIRE_H_
#define OLMOE_SERVER_RPC_WIRE_H_

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace olmoe::rpc {

// Errors: INVALID_ARGUMENT, with a violation for every text field that is not
// well-formed UTF-8. Before anything is made of a large message its fields are counted, because
// two bytes on the wire can be a hundred in memory: a message takes at most 8 bytes for a byte of
// it (and a few MiB), and one with more than 65,536 parts is refused.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_WIRE_H_
