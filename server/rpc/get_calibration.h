#ifndef OLMOE_SERVER_RPC_GET_CALIBRATION_H_
#define OLMOE_SERVER_RPC_GET_CALIBRATION_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// RoutingAdminService.GetCalibration.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGetCalibration(const ServiceContext* context,
                                                                const grpc::ByteBuffer* request);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GET_CALIBRATION_H_
