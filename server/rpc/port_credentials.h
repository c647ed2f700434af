#ifndef OLMOE_SERVER_RPC_PORT_CREDENTIALS_H_
#define OLMOE_SERVER_RPC_PORT_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/access/access.h"

namespace olmoe::rpc {

// A port's TLS and its gate, as gRPC takes them. The gate is asked by gRPC's own filter
// for every call of the port, before a service sees it: methods that do not exist,
// reflection and whatever is added later are covered without a line of theirs. TLS files
// are looked at for every new connection. Must outlive the server.
std::shared_ptr<grpc::ServerCredentials> MakePortCredentials(access::PortAccess access);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_PORT_CREDENTIALS_H_
