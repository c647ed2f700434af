// Calls that are answered by a function.
#ifndef OLMOE_SERVER_RPC_UNARY_H_
#define OLMOE_SERVER_RPC_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_requests.h"
#include "server/rpc/service_context.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {

// Parses, calls `answer` (a StatusOr<Response>(const Request&)), serializes.
template <class Request, class Answer>
absl::Status AnswerBytes(const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response,
                         const Answer& answer) {
  Request request;
  if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
  const auto result = answer(request);
  if (result.ok()) *response = SerializeMessage(*result);
  return result.status();
}

// On gRPC's own thread, unless the request is large. The request and the response live
// until the reactor is finished.
template <class Request, class Answer>
grpc::ServerUnaryReactor* AnswerNow(const ServiceContext& context,
                                    grpc::CallbackServerContext* server_context,
                                    const grpc::ByteBuffer* bytes, grpc::ByteBuffer* response,
                                    const Answer& answer) {
  grpc::ServerUnaryReactor* reactor = server_context->DefaultReactor();
  PrepareRequest(context, *bytes, [=] {
    reactor->Finish(ToGrpcStatus(AnswerBytes<Request>(*bytes, response, answer)));
  });
  return reactor;
}

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_UNARY_H_
