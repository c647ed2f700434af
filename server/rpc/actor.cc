#include "server/rpc/actor.h"

#include <grpcpp/server_context.h>

#include <memory>
#include <vector>

namespace olmoe::rpc {

std::string ActorOf(const grpc::ServerContextBase& call) {
  const std::shared_ptr<const grpc::AuthContext> peer = call.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return "";
  const std::vector<grpc::string_ref> names = peer->GetPeerIdentity();
  return names.empty() ? "" : std::string(names.front().data(), names.front().size());
}

}  // namespace olmoe::rpc
