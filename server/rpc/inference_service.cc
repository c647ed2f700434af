#include "server/rpc/inference_service.h"

#include "olmoe/v1/inference.grpc.pb.h"
#include "server/rpc/generate.h"
#include "server/rpc/generate_stream.h"
#include "server/rpc/score.h"
#include "server/rpc/score_stream.h"
#include "server/rpc/text_calls.h"
#include "server/rpc/unary.h"

namespace olmoe::rpc {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

using Generated = v1::InferenceService;
// Raw bytes: see wire.h.
using RawService = Generated::WithRawCallbackMethod_Generate<
    Generated::WithRawCallbackMethod_GenerateStream<Generated::WithRawCallbackMethod_Score<
        Generated::WithRawCallbackMethod_ScoreStream<Generated::WithRawCallbackMethod_Tokenize<
            Generated::WithRawCallbackMethod_Detokenize<
                Generated::WithRawCallbackMethod_GetModelInfo<Generated::Service>>>>>>>;

// Hands every call to the file that implements it. Immutable: thread-safe.
class InferenceServiceImpl final : public RawService {
 public:
  explicit InferenceServiceImpl(const ServiceContext* context) : context_(context) {}

  ServerUnaryReactor* Generate(CallbackServerContext* call, const ByteBuffer* request,
                               ByteBuffer* response) override {
    return StartGenerate(context_, call, request, response);
  }
  grpc::ServerWriteReactor<ByteBuffer>* GenerateStream(CallbackServerContext* call,
                                                       const ByteBuffer* request) override {
    return StartGenerateStream(context_, call, request);
  }
  ServerUnaryReactor* Score(CallbackServerContext* call, const ByteBuffer* request,
                            ByteBuffer* response) override {
    return StartScore(context_, call, request, response);
  }
  grpc::ServerBidiReactor<ByteBuffer, ByteBuffer>* ScoreStream(
      CallbackServerContext* call) override {
    return StartScoreStream(context_, call);
  }
  ServerUnaryReactor* Tokenize(CallbackServerContext* call, const ByteBuffer* request,
                               ByteBuffer* response) override {
    return AnswerNow<v1::TokenizeRequest>(
        *context_, call, request, response,
        [this](const v1::TokenizeRequest& message) { return rpc::Tokenize(message, *context_); });
  }
  ServerUnaryReactor* Detokenize(CallbackServerContext* call, const ByteBuffer* request,
                                 ByteBuffer* response) override {
    return AnswerNow<v1::DetokenizeRequest>(
        *context_, call, request, response, [this](const v1::DetokenizeRequest& message) {
          return rpc::Detokenize(message, *context_);
        });
  }
  ServerUnaryReactor* GetModelInfo(CallbackServerContext* call, const ByteBuffer* request,
                                   ByteBuffer* response) override {
    return AnswerNow<v1::GetModelInfoRequest>(
        *context_, call, request, response, [this](const v1::GetModelInfoRequest&) {
          return absl::StatusOr<v1::GetModelInfoResponse>(DescribeModel(*context_));
        });
  }

 private:
  const ServiceContext* const context_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(const ServiceContext* context) {
  return std::make_unique<InferenceServiceImpl>(context);
}

}  // namespace olmoe::rpc
