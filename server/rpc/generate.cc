#include "server/rpc/generate.h"

#include <grpcpp/server_context.h>

#include <memory>
#include <utility>

#include "glog/logging.h"
#include "server/rpc/conversions.h"
#include "server/rpc/generate_request.h"
#include "server/rpc/request_cost.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One Generate call. It shares itself with the engine while that delivers, and ends once: in
// OnMessage for a refused request, otherwise by the engine's OnDone, after which the engine never
// calls again.
class GenerateCall final : public BoundedCall, public engine::TokenSink {
 public:
  GenerateCall(const ServiceContext* context, grpc::CallbackServerContext* server_context)
      : BoundedCall(context, server_context), request_(context, "Generate", client()) {}

  // engine::TokenSink, engine thread.
  engine::Flow OnTokens(engine::GenerateDelta delta) override;
  engine::Flow OnScores(engine::WindowScores) override {
    LOG(FATAL) << "a generation has no scores";
    return engine::Flow::kContinue;
  }
  void OnDone(const engine::Completion& completion) override;

 private:
  void OnMessage(bool ok) override {
    const absl::Status status = Submit();
    if (status.ok()) return;
    OnRefused(status);
    End(status);
  }
  void OnCancelled() override { request_.Cancel(); }
  void OnRefused(const absl::Status& status) override { request_.Report(status, nullptr); }
  absl::Status Submit();

  EngineRequest request_;
  bool wants_tokens_ = false;
  uint64_t seed_ = 0;

  // Engine thread only.
  v1::GenerateResponse collected_;
  engine::RoutingTrace trace_;
};

absl::Status GenerateCall::Submit() {
  absl::StatusOr<GenerateInput> input = ReadGenerate(message(), context(), interrupt());
  if (!input.ok()) return input.status();
  if (absl::Status status = Reserve(MemoryOf(input->work, context().model)); !status.ok()) {
    return status;
  }
  ClearMessage();
  wants_tokens_ = input->work.logprobs;
  seed_ = input->work.sampling.seed;
  absl::Status status = request_.Admit(input->routing, std::move(input->request_id));
  if (!status.ok()) return status;
  request_.AddMetadata(server_context());
  StartSendInitialMetadata();
  return request_.Submit(std::move(input->work), deadline(), Shared(this));
}

engine::Flow GenerateCall::OnTokens(engine::GenerateDelta delta) {
  collected_.mutable_text()->append(delta.text);
  for (const engine::GeneratedToken& token : delta.tokens) {
    collected_.add_token_ids(static_cast<uint32_t>(token.token));
    if (wants_tokens_) *collected_.add_tokens() = ToProto(token, context().tokenizer);
  }
  trace_.Append(std::move(delta.trace));
  return engine::Flow::kContinue;
}

void GenerateCall::OnDone(const engine::Completion& completion) {
  request_.Report(completion.status, &completion);
  if (completion.status.ok()) {
    v1::GenerateResponse response = SummaryOf(request_, completion, seed_);
    response.MergeFrom(collected_);
    if (trace_.num_positions > 0) *response.mutable_trace() = ToProto(trace_);
    return Answer(SerializeMessage(response));
  }
  End(completion.status);
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

ByteReactor* StartGenerate(const ServiceContext* context,
                           grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GenerateCall>(context, server_context);
}

}  // namespace olmoe::rpc
