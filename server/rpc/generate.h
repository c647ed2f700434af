#ifndef OLMOE_SERVER_RPC_GENERATE_H_
#define OLMOE_SERVER_RPC_GENERATE_H_

#include "olmoe/v1/inference.pb.h"
#include "server/engine/token_sink.h"
#include "server/rpc/bounded_call.h"
#include "server/rpc/engine_request.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// InferenceService.Generate: collects what the engine delivers into one answer.
ByteReactor* StartGenerate(const ServiceContext* context,
                           grpc::CallbackServerContext* server_context);

// All of a GenerateResponse but what was delivered bit by bit.
v1::GenerateResponse SummaryOf(const EngineRequest& request, const engine::Completion& completion,
                               uint64_t seed);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GENERATE_H_
