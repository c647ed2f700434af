// Tokenize, Detokenize, GetModelInfo: no model is run.
#ifndef OLMOE_SERVER_RPC_TEXT_CALLS_H_
#define OLMOE_SERVER_RPC_TEXT_CALLS_H_

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// Errors: FAILED_PRECONDITION without a tokenizer.
absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                              const ServiceContext& context);

// Errors: FAILED_PRECONDITION without a tokenizer; INVALID_ARGUMENT for ids outside
// the vocabulary.
absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const ServiceContext& context);

v1::GetModelInfoResponse DescribeModel(const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_TEXT_CALLS_H_
