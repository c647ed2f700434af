#ifndef OLMOE_SERVER_RPC_PUT_CALIBRATION_H_
#define OLMOE_SERVER_RPC_PUT_CALIBRATION_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// RoutingAdminService.PutCalibration. `pool` is where it waits for the store.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartPutCalibration(const ServiceContext* context,
                                                               WorkerPool* pool,
                                                               grpc::ByteBuffer* response);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_PUT_CALIBRATION_H_
