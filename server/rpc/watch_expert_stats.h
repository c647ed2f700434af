#ifndef OLMOE_SERVER_RPC_WATCH_EXPERT_STATS_H_
#define OLMOE_SERVER_RPC_WATCH_EXPERT_STATS_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// RoutingAdminService.WatchExpertStats.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartWatchExpertStats(const ServiceContext* context,
                                                                  const grpc::ByteBuffer* request);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_WATCH_EXPERT_STATS_H_
