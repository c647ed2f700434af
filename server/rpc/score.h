#ifndef OLMOE_SERVER_RPC_SCORE_H_
#define OLMOE_SERVER_RPC_SCORE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// InferenceService.Score.
grpc::ServerUnaryReactor* StartScore(const ServiceContext* context,
                                     grpc::CallbackServerContext* server_context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_SCORE_H_
