#ifndef OLMOE_SERVER_RPC_SCORE_STREAM_H_
#define OLMOE_SERVER_RPC_SCORE_STREAM_H_

#include "server/rpc/bounded_call.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// InferenceService.ScoreStream. Every answer carries its own stamp, so the stream has
// no x-olmoe metadata.
ByteReactor* StartScoreStream(const ServiceContext* context,
                              grpc::CallbackServerContext* server_context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_SCORE_STREAM_H_
