// Small values <-> olmoe.v1 messages.
#ifndef OLMOE_SERVER_RPC_CONVERSIONS_H_
#define OLMOE_SERVER_RPC_CONVERSIONS_H_

#include <chrono>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "olmoe/v1/inference.pb.h"
#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/text/tokenizer.h"

namespace olmoe::rpc {

google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);
// nullopt for a malformed or negative duration.
std::optional<absl::Duration> FromProto(const google::protobuf::Duration& duration);

// The deadline of a ServerContext; infinite where the client set none.
absl::Time ToDeadline(std::chrono::system_clock::time_point deadline);

engine::TraceOptions FromProto(const v1::TraceOptions& trace);
v1::RoutingTrace ToProto(const engine::RoutingTrace& trace);

v1::TokenLogprob ToProto(const model::TokenLogprob& logprob);
// `tokenizer` may be null: then the piece is empty.
v1::GeneratedToken ToProto(const engine::GeneratedToken& token, const text::Tokenizer* tokenizer);
v1::ScoredToken ToProto(const engine::ScoredToken& token);

v1::FinishReason ToProto(engine::FinishReason reason);
v1::Usage UsageOf(const engine::Completion& completion);
v1::Timing ToProto(const engine::RequestTiming& timing);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_CONVERSIONS_H_
