#ifndef OLMOE_SERVER_RPC_BUILD_CALIBRATION_H_
#define OLMOE_SERVER_RPC_BUILD_CALIBRATION_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>

#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// What the BuildCalibration calls of a service share. Thread-safe.
struct CalibrationBuilds {
  explicit CalibrationBuilds(WorkerPool* pool) : pool(pool) {}
  WorkerPool* const pool;  // where texts are tokenized and the store is waited for
  std::atomic<int> running = 0;
};

// RoutingAdminService.BuildCalibration.
grpc::ServerUnaryReactor* StartBuildCalibration(const ServiceContext* context,
                                                CalibrationBuilds* builds,
                                                grpc::CallbackServerContext* server_context,
                                                const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_BUILD_CALIBRATION_H_
