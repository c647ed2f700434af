// The calls of InferenceService.
#ifndef OLMOE_SERVER_RPC_INFERENCE_CALLS_H_
#define OLMOE_SERVER_RPC_INFERENCE_CALLS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/experiment/engine_request.h"
#include "server/experiment/serving.h"
#include "server/rpc/bounded_call.h"
#include "server/rpc/call_context.h"
#include "server/util/interrupt.h"

namespace grpc {
class Service;
}

namespace olmoe::rpc {

// What they share. Pointers are not owned and outlive the service. Constant once serving.
struct InferenceContext {
  CallContext call;
  const experiment::Serving* serving = nullptr;
  size_t max_pending_bytes = size_t{1} << 20;  // of one stream, behind the write under way
  int max_stream_requests = 32;                // of one ScoreStream, read and not yet answered
  // For GetModelInfo.
  uint32_t max_batch_sequences = 0;
  std::string server_version;
};

using InferenceCall = ServiceCall<InferenceContext>;

// x-olmoe-generation and x-olmoe-arm of an admitted request, to be sent before anything else.
void AddStampMetadata(const experiment::EngineRequest& request,
                      grpc::CallbackServerContext* server_context);

ByteReactor* StartGenerate(const InferenceContext* context,
                           grpc::CallbackServerContext* server_context);
ByteReactor* StartGenerateStream(const InferenceContext* context,
                                 grpc::CallbackServerContext* server_context);
ByteReactor* StartScore(const InferenceContext* context,
                        grpc::CallbackServerContext* server_context);
ByteReactor* StartScoreStream(const InferenceContext* context,
                              grpc::CallbackServerContext* server_context);

// Answers a v1::TokenizeRequest with the bytes of a v1::TokenizeResponse, which come to be
// while the text is tokenized: the response as a message would take a hundred bytes a token.
// With the message it takes at most 20 bytes for a byte of text (and a few MiB).
// Errors: FAILED_PRECONDITION without a tokenizer; OUT_OF_RANGE for text that normalization
// makes much longer; those of ParseMessage and of `interrupt`.
absl::StatusOr<grpc::ByteBuffer> Tokenize(const grpc::ByteBuffer& request,
                                          const InferenceContext& context,
                                          const Interrupt& interrupt);
// Errors: FAILED_PRECONDITION without a tokenizer; INVALID_ARGUMENT for ids outside
// the vocabulary; OUT_OF_RANGE for text of more than max_response_bytes.
absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const InferenceContext& context);
v1::GetModelInfoResponse DescribeModel(const InferenceContext& context);

inline constexpr char kInferenceServiceName[] = "olmoe.v1.InferenceService";

// The public service; `context` outlives it. Thread-safe.
std::unique_ptr<grpc::Service> MakeInferenceService(const InferenceContext* context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_INFERENCE_CALLS_H_
