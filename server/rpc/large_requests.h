#ifndef OLMOE_SERVER_RPC_LARGE_REQUESTS_H_
#define OLMOE_SERVER_RPC_LARGE_REQUESTS_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <utility>

#include "server/rpc/fair_workers.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// About a millisecond of parsing and tokenizing.
inline constexpr size_t kLargeRequestBytes = 64 << 10;

// Runs `work.run` for a request of these bytes: at once, or for a large one in its client's turn
// on the pool, so that megabytes of text hold up neither the few threads that gRPC answers on
// nor other clients. Only a large one may be refused.
inline void PrepareRequest(const ServiceContext& context, const grpc::ByteBuffer& bytes,
                           FairWorkers::Work work) {
  if (context.large_requests == nullptr || bytes.Length() < kLargeRequestBytes) {
    work.run();
  } else {
    context.large_requests->Run(std::move(work));
  }
}

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_LARGE_REQUESTS_H_
