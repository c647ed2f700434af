#ifndef OLMOE_SERVER_RPC_BUILD_CALIBRATION_H_
#define OLMOE_SERVER_RPC_BUILD_CALIBRATION_H_

#include <atomic>

#include "server/rpc/bounded_call.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

class WorkerPool;

// What the BuildCalibration calls of a service share. Thread-safe.
struct CalibrationBuilds {
  explicit CalibrationBuilds(WorkerPool* pool) : pool(pool) {}
  WorkerPool* const pool;  // where texts are tokenized and the store is waited for
  std::atomic<int> running = 0;
};

// RoutingAdminService.BuildCalibration.
ByteReactor* StartBuildCalibration(const ServiceContext* context, CalibrationBuilds* builds,
                                   grpc::CallbackServerContext* server_context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_BUILD_CALIBRATION_H_
