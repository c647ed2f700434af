#ifndef OLMOE_SERVER_RPC_ACTOR_H_
#define OLMOE_SERVER_RPC_ACTOR_H_

#include <string>

namespace grpc {
class ServerContextBase;
}

namespace olmoe::rpc {

// Who calls, as the connection has proved it, for the history; empty where it has not.
std::string ActorOf(const grpc::ServerContextBase& call);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ACTOR_H_
