#include "server/api/conversions.h"

#include <bit>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "server/api/routing_proto.h"
#include "server/api/time_proto.h"

namespace olmoe::api {
namespace {

static_assert(std::endian::native == std::endian::little,
              "RoutingTrace holds little-endian floats");

std::string FloatBytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

}  // namespace

engine::TraceOptions FromProto(const v1::TraceOptions& trace) {
  return {trace.experts(), trace.weights(), trace.logits()};
}

v1::RoutingTrace ToProto(const engine::RoutingTrace& trace) {
  v1::RoutingTrace out;
  out.set_first_position(static_cast<uint32_t>(trace.first_position));
  out.set_num_positions(static_cast<uint32_t>(trace.num_positions));
  out.set_num_layers(static_cast<uint32_t>(trace.num_layers));
  out.set_counts(std::string(trace.counts.begin(), trace.counts.end()));
  out.set_experts(std::string(trace.experts.begin(), trace.experts.end()));
  out.set_weights(FloatBytes(trace.weights));
  out.set_logits(FloatBytes(trace.logits));
  return out;
}

v1::TokenLogprob ToProto(const model::TokenLogprob& logprob) {
  v1::TokenLogprob out;
  out.set_token_id(static_cast<uint32_t>(logprob.token));
  out.set_logprob(logprob.logprob);
  return out;
}

v1::GeneratedToken ToProto(const engine::GeneratedToken& token, const text::Tokenizer* tokenizer) {
  v1::GeneratedToken out;
  out.set_token_id(static_cast<uint32_t>(token.token));
  if (tokenizer != nullptr) out.set_piece(std::string(tokenizer->TokenBytes(token.token)));
  if (token.logprob) out.set_logprob(*token.logprob);
  for (const model::TokenLogprob& top : token.top) *out.add_top() = ToProto(top);
  return out;
}

v1::ScoredToken ToProto(const engine::ScoredToken& token) {
  v1::ScoredToken out;
  out.set_token_id(static_cast<uint32_t>(token.token));
  out.set_logprob(token.logprob);
  out.set_rank(token.rank);
  for (const model::TokenLogprob& top : token.top) *out.add_top() = ToProto(top);
  return out;
}

v1::RoutingStamp StampOf(const experiment::EngineRequest& request) {
  return ToProto(request.generation(), request.assignment());
}

v1::FinishReason ToProto(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kLength: return v1::FINISH_REASON_LENGTH;
    case engine::FinishReason::kEos: return v1::FINISH_REASON_EOS;
    case engine::FinishReason::kStopString: return v1::FINISH_REASON_STOP_STRING;
    case engine::FinishReason::kStopToken: return v1::FINISH_REASON_STOP_TOKEN;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Usage UsageOf(const engine::Completion& completion) {
  v1::Usage out;
  out.set_prompt_tokens(completion.prompt_tokens);
  out.set_completion_tokens(completion.completion_tokens);
  out.set_expert_activations(completion.expert_activations);
  out.set_routed_tokens(completion.routed_tokens);
  out.set_cached_prompt_tokens(completion.cached_prompt_tokens);
  out.set_cached_expert_activations(completion.cached_expert_activations);
  return out;
}

v1::Timing ToProto(const engine::RequestTiming& timing) {
  v1::Timing out;
  *out.mutable_queue() = ToProto(timing.queue);
  *out.mutable_prefill() = ToProto(timing.prefill);
  *out.mutable_time_to_first_token() = ToProto(timing.time_to_first_token);
  *out.mutable_decode() = ToProto(timing.decode);
  *out.mutable_total() = ToProto(timing.total);
  return out;
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status out;
  out.set_code(static_cast<int>(status.code()));
  out.set_message(std::string(status.message()));
  status.ForEachPayload([&out](absl::string_view type_url, const absl::Cord& payload) {
    google::protobuf::Any* detail = out.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return out;
}

}  // namespace olmoe::api
