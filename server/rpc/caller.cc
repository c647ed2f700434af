#include "server/rpc/caller.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <string_view>

#include "absl/strings/str_replace.h"
#include "server/experiment/serving.h"
#include "server/net/listener.h"

namespace olmoe::rpc {
namespace {

std::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

std::string ForwardedFor(const grpc::CallbackServerContext& call) {
  const auto [first, last] = call.client_metadata().equal_range("x-forwarded-for");
  std::string_view fields;
  for (auto field = first; field != last; ++field) fields = View(field->second);
  return net::ForwardedClient(fields);
}

}  // namespace

std::string ActorOf(const grpc::CallbackServerContext& call, const access::Gate* gate) {
  if (gate != nullptr) {
    access::Gate::Authorization authorization;
    const auto [first, last] = call.client_metadata().equal_range("authorization");
    for (auto field = first; field != last; ++field) authorization.push_back(View(field->second));
    if (std::string name = gate->TokenName(authorization); !name.empty()) return name;
  }
  const std::shared_ptr<const grpc::AuthContext> peer = call.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return "";
  const auto names = peer->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  return names.empty() ? "" : access::PrintableName(View(names[0]));
}

std::string AddressOfPeer(const std::string& peer) {
  const size_t begin = peer.find(':') + 1, end = peer.rfind(':');
  if (end == std::string::npos || end <= begin) return "";
  return net::ClientAddress(absl::StrReplaceAll(peer.substr(begin, end - begin),
                                                {{"%5B", ""}, {"%5D", ""}, {"[", ""}, {"]", ""}}));
}

std::string ClientOf(const grpc::CallbackServerContext& call, const CallContext& context) {
  if (const std::string name = ActorOf(call, context.gate); !name.empty()) {
    return std::string(experiment::kNamedClient) + name;
  }
  return context.behind_proxy ? ForwardedFor(call) : AddressOfPeer(call.peer());
}

}  // namespace olmoe::rpc
