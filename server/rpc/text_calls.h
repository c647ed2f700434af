// Tokenize, Detokenize, GetModelInfo: no model is run.
#ifndef OLMOE_SERVER_RPC_TEXT_CALLS_H_
#define OLMOE_SERVER_RPC_TEXT_CALLS_H_

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/rpc/interrupt.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// Answers a v1::TokenizeRequest with the bytes of a v1::TokenizeResponse, which come to be
// while the text is tokenized: the response as a message would take a hundred bytes a token.
// With the message it takes at most 20 bytes for a byte of text (and a few MiB).
// Errors: FAILED_PRECONDITION without a tokenizer; OUT_OF_RANGE for text that normalization
// makes much longer; those of ParseMessage and of `interrupt`.
absl::StatusOr<grpc::ByteBuffer> Tokenize(const grpc::ByteBuffer& request,
                                          const ServiceContext& context,
                                          const Interrupt& interrupt);

// Errors: FAILED_PRECONDITION without a tokenizer; INVALID_ARGUMENT for ids outside
// the vocabulary; OUT_OF_RANGE for text of more than max_response_bytes.
absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const ServiceContext& context);

v1::GetModelInfoResponse DescribeModel(const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_TEXT_CALLS_H_
