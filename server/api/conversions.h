// Small values <-> olmoe.v1 messages.
#ifndef OLMOE_SERVER_API_CONVERSIONS_H_
#define OLMOE_SERVER_API_CONVERSIONS_H_

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "olmoe/v1/inference.pb.h"
#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/experiment/engine_request.h"
#include "server/text/tokenizer.h"

namespace olmoe::api {

engine::TraceOptions FromProto(const v1::TraceOptions& trace);
v1::RoutingTrace ToProto(const engine::RoutingTrace& trace);

v1::TokenLogprob ToProto(const model::TokenLogprob& logprob);
// `tokenizer` may be null: then the piece is empty.
v1::GeneratedToken ToProto(const engine::GeneratedToken& token, const text::Tokenizer* tokenizer);
v1::ScoredToken ToProto(const engine::ScoredToken& token);

// Of an admitted request.
v1::RoutingStamp StampOf(const experiment::EngineRequest& request);

v1::FinishReason ToProto(engine::FinishReason reason);
v1::Usage UsageOf(const engine::Completion& completion);
v1::Timing ToProto(const engine::RequestTiming& timing);

// An error that travels inside an answer: the same code, message and details.
google::rpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_CONVERSIONS_H_
