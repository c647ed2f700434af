#include "server/rpc/actor.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>

#include <memory>
#include <string_view>

#include "absl/strings/ascii.h"

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

}  // namespace olmoe::rpc
