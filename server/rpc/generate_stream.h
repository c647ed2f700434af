#ifndef OLMOE_SERVER_RPC_GENERATE_STREAM_H_
#define OLMOE_SERVER_RPC_GENERATE_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// InferenceService.GenerateStream.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerateStream(
    const ServiceContext* context, grpc::CallbackServerContext* server_context,
    const grpc::ByteBuffer* request);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GENERATE_STREAM_H_
