#ifndef OLMOE_SERVER_RPC_PUT_CALIBRATION_H_
#define OLMOE_SERVER_RPC_PUT_CALIBRATION_H_

#include "server/rpc/bounded_call.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

class WorkerPool;

// RoutingAdminService.PutCalibration. `pool` is where it waits for the store.
ByteReactor* StartPutCalibration(const ServiceContext* context, WorkerPool* pool,
                                 grpc::CallbackServerContext* server_context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_PUT_CALIBRATION_H_
