#ifndef OLMOE_SERVER_RPC_ACTOR_H_
#define OLMOE_SERVER_RPC_ACTOR_H_

#include <grpcpp/server_context.h>

#include <string>

#include "server/access/gate.h"

namespace olmoe::rpc {

// Who makes a call, as the routing history keeps it: the name of its token, else the
// common name of its client certificate, else empty. Printable ASCII, at most 64 bytes.
// `gate`: of the port that the call came through; null: no tokens.
std::string ActorOf(const grpc::CallbackServerContext& call, const access::Gate* gate);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ACTOR_H_
