#ifndef OLMOE_SERVER_RPC_LARGE_REQUESTS_H_
#define OLMOE_SERVER_RPC_LARGE_REQUESTS_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <functional>
#include <utility>

#include "server/rpc/service_context.h"
#include "server/rpc/worker_pool.h"

namespace olmoe::rpc {

// About a millisecond of parsing and tokenizing.
inline constexpr size_t kLargeRequestBytes = 64 << 10;

// Runs `prepare` for a request of these bytes: at once, or on the pool for a large one,
// so that megabytes of text do not hold up the few threads that gRPC answers on.
inline void PrepareRequest(const ServiceContext& context, const grpc::ByteBuffer& bytes,
                           std::function<void()> prepare) {
  if (context.large_requests == nullptr || bytes.Length() < kLargeRequestBytes) {
    prepare();
  } else {
    context.large_requests->Run(std::move(prepare));
  }
}

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_LARGE_REQUESTS_H_
