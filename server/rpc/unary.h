// Calls that are answered by a function.
#ifndef OLMOE_SERVER_RPC_UNARY_H_
#define OLMOE_SERVER_RPC_UNARY_H_

#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/limits/worker_pool.h"
#include "server/rpc/bounded_call.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {

// Reads one message, calls `answer` with its bytes, answers. Where there is a pool, on that: for
// what waits.
class UnaryCall final : public BoundedCall {
 public:
  using BytesAnswer =
      std::function<absl::StatusOr<grpc::ByteBuffer>(const grpc::ByteBuffer&, const Interrupt&)>;

  UnaryCall(const CallContext* context, grpc::CallbackServerContext* server_context,
            limits::WorkerPool* pool, BytesAnswer answer)
      : BoundedCall(context, server_context), pool_(pool), answer_(std::move(answer)) {}

 private:
  void OnMessage(bool) override {
    if (pool_ == nullptr) return Run();
    pool_->Run([call = Shared(this)] { call->Run(); });
  }
  void Run() {
    absl::StatusOr<grpc::ByteBuffer> answer = answer_(message(), interrupt());
    if (answer.ok()) {
      Answer(*std::move(answer));
    } else {
      End(answer.status());
    }
  }

  limits::WorkerPool* const pool_;  // null: none
  const BytesAnswer answer_;
};

// `answer`, a StatusOr<Response>(const Request&), for bytes.
template <class Request, class Function>
UnaryCall::BytesAnswer ForBytes(Function answer) {
  return [answer = std::move(answer)](const grpc::ByteBuffer& bytes,
                                      const Interrupt&) -> absl::StatusOr<grpc::ByteBuffer> {
    Request request;
    if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
    const auto response = answer(request);
    if (!response.ok()) return response.status();
    return SerializeMessage(*response);
  };
}

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_UNARY_H_
