#ifndef OLMOE_SERVER_RPC_GET_CALIBRATION_H_
#define OLMOE_SERVER_RPC_GET_CALIBRATION_H_

#include "server/rpc/bounded_call.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// RoutingAdminService.GetCalibration.
ByteReactor* StartGetCalibration(const ServiceContext* context,
                                 grpc::CallbackServerContext* server_context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GET_CALIBRATION_H_
