// Who makes a call.
#ifndef OLMOE_SERVER_RPC_CALLER_H_
#define OLMOE_SERVER_RPC_CALLER_H_

#include <grpcpp/server_context.h>

#include <string>

#include "server/access/gate.h"
#include "server/rpc/call_context.h"

namespace olmoe::rpc {

// Who makes a call, as the routing history keeps it: the name of its token, else the
// common name of its client certificate, else empty. Printable ASCII, at most 64 bytes.
// `gate`: of the port that the call came through; null: no tokens.
std::string ActorOf(const grpc::CallbackServerContext& call, const access::Gate* gate);

// Whose call it is, for shares of the queue and of memory: the name of its token or certificate,
// else the address it comes from (with --behind-proxy the one that the proxy names), else empty:
// a Unix socket's clients cannot be told apart.
std::string ClientOf(const grpc::CallbackServerContext& call, const CallContext& context);

// The address in a gRPC peer's URI, "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711", as
// net::ClientAddress gives it; empty for others.
std::string AddressOfPeer(const std::string& peer);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_CALLER_H_
