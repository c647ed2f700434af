#ifndef OLMOE_SERVER_RPC_INFERENCE_SERVICE_H_
#define OLMOE_SERVER_RPC_INFERENCE_SERVICE_H_

#include <memory>

#include "server/rpc/service_context.h"

namespace grpc {
class Service;
}

namespace olmoe::rpc {

inline constexpr char kInferenceServiceName[] = "olmoe.v1.InferenceService";

// The public service; `context` outlives it. Thread-safe.
std::unique_ptr<grpc::Service> MakeInferenceService(const ServiceContext* context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_INFERENCE_SERVICE_H_
