#include "server/rpc/generate.h"

#include <grpcpp/server_context.h>

#include <memory>
#include <utility>

#include "glog/logging.h"
#include "server/rpc/conversions.h"
#include "server/rpc/generate_request.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_requests.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One Generate call. It owns itself until gRPC is done with it, and shares itself
// with the engine while that delivers. Finish is called once: by Begin for a refused
// request, otherwise by the engine's OnDone, after which the engine never calls again.
class GenerateCall final : public grpc::ServerUnaryReactor, public engine::TokenSink {
 public:
  static GenerateCall* Start(const ServiceContext* context,
                             grpc::CallbackServerContext* server_context,
                             const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response) {
    auto call = std::make_shared<GenerateCall>(context, server_context, response);
    call->self_ = call;
    PrepareRequest(*context, bytes, [call, &bytes] { call->Begin(bytes); });
    return call.get();
  }

  GenerateCall(const ServiceContext* context, grpc::CallbackServerContext* server_context,
               grpc::ByteBuffer* response)
      : server_context_(server_context), response_(response), request_(context, "Generate") {}

  // engine::TokenSink, engine thread.
  engine::Flow OnTokens(engine::GenerateDelta delta) override;
  engine::Flow OnScores(engine::WindowScores) override {
    LOG(FATAL) << "a generation has no scores";
    return engine::Flow::kContinue;
  }
  void OnDone(const engine::Completion& completion) override;

  // grpc::ServerUnaryReactor, gRPC threads.
  void OnCancel() override { request_.Cancel(); }
  void OnDone() override { const auto last = std::move(self_); }

 private:
  void Begin(const grpc::ByteBuffer& bytes) {
    absl::Status status = Submit(bytes);
    if (status.ok()) return;
    request_.Report(status, nullptr);
    Finish(ToGrpcStatus(status));
  }
  absl::Status Submit(const grpc::ByteBuffer& bytes);

  grpc::CallbackServerContext* const server_context_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<GenerateCall> self_;
  EngineRequest request_;
  bool wants_tokens_ = false;
  uint64_t seed_ = 0;

  // Engine thread only.
  v1::GenerateResponse collected_;
  engine::RoutingTrace trace_;
};

absl::Status GenerateCall::Submit(const grpc::ByteBuffer& bytes) {
  v1::GenerateRequest message;
  if (absl::Status status = ParseMessage(bytes, &message); !status.ok()) return status;
  absl::StatusOr<GenerateInput> input = ParseGenerate(message, request_.context());
  if (!input.ok()) return input.status();
  wants_tokens_ = input->work.logprobs;
  seed_ = input->work.sampling.seed;
  absl::Status status = request_.Admit(input->routing, std::move(input->request_id));
  if (!status.ok()) return status;
  request_.AddMetadata(server_context_);
  StartSendInitialMetadata();
  return request_.Submit(std::move(input->work), ToDeadline(server_context_->deadline()), self_);
}

engine::Flow GenerateCall::OnTokens(engine::GenerateDelta delta) {
  collected_.mutable_text()->append(delta.text);
  for (const engine::GeneratedToken& token : delta.tokens) {
    collected_.add_token_ids(static_cast<uint32_t>(token.token));
    if (wants_tokens_) *collected_.add_tokens() = ToProto(token, request_.context().tokenizer);
  }
  trace_.Append(std::move(delta.trace));
  return engine::Flow::kContinue;
}

void GenerateCall::OnDone(const engine::Completion& completion) {
  if (completion.status.ok()) {
    v1::GenerateResponse response = SummaryOf(request_, completion, seed_);
    response.MergeFrom(collected_);
    if (trace_.num_positions > 0) *response.mutable_trace() = ToProto(trace_);
    *response_ = SerializeMessage(response);
  }
  request_.Report(completion.status, &completion);
  Finish(ToGrpcStatus(completion.status));
}

}  // namespace

v1::GenerateResponse SummaryOf(const EngineRequest& request, const engine::Completion& completion,
                               uint64_t seed) {
  v1::GenerateResponse out;
  out.set_request_id(request.request_id());
  out.set_finish_reason(ToProto(completion.finish_reason));
  out.set_matched_stop(completion.matched_stop);
  *out.mutable_usage() = UsageOf(completion);
  *out.mutable_timing() = ToProto(completion.timing);
  *out.mutable_routing() = request.stamp();
  out.set_seed(seed);
  return out;
}

grpc::ServerUnaryReactor* StartGenerate(const ServiceContext* context,
                                        grpc::CallbackServerContext* server_context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) {
  return GenerateCall::Start(context, server_context, *request, response);
}

}  // namespace olmoe::rpc
