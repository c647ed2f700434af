#ifndef OLMOE_SERVER_RPC_GENERATE_REQUEST_H_
#define OLMOE_SERVER_RPC_GENERATE_REQUEST_H_

#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/engine/request.h"
#include "server/rpc/interrupt.h"
#include "server/rpc/routing_choice.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// A GenerateRequest with every field checked and its text tokenized.
struct GenerateInput {
  std::string request_id;
  engine::GenerateWork work;
  RoutingChoice routing;
};

// Errors: INVALID_ARGUMENT with every violation; then FAILED_PRECONDITION (text
// without a tokenizer), PERMISSION_DENIED (inline policy), OUT_OF_RANGE (context), and those
// of `interrupt`.
absl::StatusOr<GenerateInput> ParseGenerate(const v1::GenerateRequest& request,
                                            const ServiceContext& context,
                                            const Interrupt& interrupt = {});
// The same from its bytes.
absl::StatusOr<GenerateInput> ReadGenerate(const grpc::ByteBuffer& bytes,
                                           const ServiceContext& context,
                                           const Interrupt& interrupt);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_GENERATE_REQUEST_H_
