#include "server/rpc/caller.h"

#include <arpa/inet.h>
#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>
#include <netinet/in.h>

#include <memory>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "server/experiment/serving.h"
#include "server/net/listener.h"

namespace olmoe::rpc {
namespace {

std::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

// A certificate may call its owner anything.
std::string Printable(std::string_view name) {
  constexpr size_t kMaxBytes = 64;
  std::string out(name.substr(0, kMaxBytes));
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

std::string ClientAddressOf(const std::string& address) {
  sockaddr_storage peer = {};
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(peer);
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(peer);
  if (inet_pton(AF_INET, address.c_str(), &ipv4.sin_addr) == 1) {
    ipv4.sin_family = AF_INET;
  } else if (inet_pton(AF_INET6, address.c_str(), &ipv6.sin6_addr) == 1) {
    ipv6.sin6_family = AF_INET6;
  } else {
    return "";
  }
  return net::ClientAddress(peer);
}

// The last address of the last x-forwarded-for, which is the proxy's own word; those before it are
// the client's.
std::string ForwardedFor(const grpc::CallbackServerContext& call) {
  const auto [first, last] = call.client_metadata().equal_range("x-forwarded-for");
  std::string address;
  for (auto field = first; field != last; ++field) {
    const std::string_view value(field->second.data(), field->second.size());
    address = std::string(value.substr(value.rfind(',') + 1));
  }
  absl::StripAsciiWhitespace(&address);
  return ClientAddressOf(address);
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
  return names.empty() ? "" : Printable(View(names[0]));
}

std::string AddressOfPeer(const std::string& peer) {
  const size_t begin = peer.find(':') + 1, end = peer.rfind(':');
  if (end == std::string::npos || end <= begin) return "";
  return ClientAddressOf(absl::StrReplaceAll(peer.substr(begin, end - begin),
                                             {{"%5B", ""}, {"%5D", ""}, {"[", ""}, {"]", ""}}));
}

std::string ClientOf(const grpc::CallbackServerContext& call, const CallContext& context) {
  if (const std::string name = ActorOf(call, context.gate); !name.empty()) {
    return std::string(experiment::kNamedClient) + name;
  }
  return context.behind_proxy ? ForwardedFor(call) : AddressOfPeer(call.peer());
}

}  // namespace olmoe::rpc
