#ifndef OLMOE_SERVER_RPC_WATCH_ROUTING_H_
#define OLMOE_SERVER_RPC_WATCH_ROUTING_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// RoutingAdminService.WatchRouting.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartWatchRouting(const ServiceContext* context,
                                                              const grpc::ByteBuffer* request);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_WATCH_ROUTING_H_
