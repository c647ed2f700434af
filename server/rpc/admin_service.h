#ifndef OLMOE_SERVER_RPC_ADMIN_SERVICE_H_
#define OLMOE_SERVER_RPC_ADMIN_SERVICE_H_

#include <memory>

#include "server/rpc/service_context.h"

namespace grpc {
class Service;
}

namespace olmoe::rpc {

inline constexpr char kAdminServiceName[] = "olmoe.v1.RoutingAdminService";

// The operators' service; `context` outlives it. Thread-safe.
std::unique_ptr<grpc::Service> MakeAdminService(const ServiceContext* context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ADMIN_SERVICE_H_
