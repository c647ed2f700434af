#ifndef OLMOE_SERVER_RPC_CLIENT_OF_H_
#define OLMOE_SERVER_RPC_CLIENT_OF_H_

#include <string>

#include "server/rpc/service_context.h"

namespace grpc {
class CallbackServerContext;
}

namespace olmoe::rpc {

// Whose call it is, for shares of the queue and of memory: the name of its token or certificate,
// else the address it comes from (with --behind-proxy the one that the proxy names), else empty:
// a Unix socket's clients cannot be told apart.
std::string ClientOf(const grpc::CallbackServerContext& call, const ServiceContext& context);

// The address in a gRPC peer's URI, "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711", as
// net::ClientAddress gives it; empty for others.
std::string AddressOfPeer(const std::string& peer);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_CLIENT_OF_H_
