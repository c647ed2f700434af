#ifndef OLMOE_SERVER_RPC_CALL_CONTEXT_H_
#define OLMOE_SERVER_RPC_CALL_CONTEXT_H_

#include <functional>
#include <string>

namespace olmoe::access {
class Gate;
}
namespace olmoe::limits {
class CallLimits;
class FairWorkers;
}  // namespace olmoe::limits

namespace olmoe::rpc {

// What every call of a port needs, whatever it does. Pointers are not owned and outlive the
// service. Constant once serving; what it points to is thread-safe.
struct CallContext {
  const access::Gate* gate = nullptr;  // of the port; names clients, see ClientOf; null: no tokens
  bool behind_proxy = false;  // which tells whose calls it passes on
  limits::CallLimits* limits = nullptr;  // not null
  limits::FairWorkers* large_requests = nullptr;  // prepare them; null: gRPC's threads do
  // Ends the connection of a call's client by force: GrpcServer::Disconnect of the call's peer().
  // May be empty.
  std::function<void(const std::string& peer)> disconnect;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_CALL_CONTEXT_H_
