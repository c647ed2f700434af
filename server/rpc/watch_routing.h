#ifndef OLMOE_SERVER_RPC_WATCH_ROUTING_H_
#define OLMOE_SERVER_RPC_WATCH_ROUTING_H_

#include "server/rpc/bounded_call.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// RoutingAdminService.WatchRouting.
ByteReactor* StartWatchRouting(const ServiceContext* context,
                               grpc::CallbackServerContext* server_context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_WATCH_ROUTING_H_
