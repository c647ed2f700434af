#include "client/transport/channel.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/transport/address.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/client_interceptor.h"

namespace olmoe::client::transport {
namespace {

namespace experimental = grpc::experimental;

// Sends the token with every call of a channel. gRPC's own call credentials would refuse
// a plaintext channel, which loopback and a mesh's proxy are.
class TokenSender final : public experimental::Interceptor {
 public:
  explicit TokenSender(const std::string& token) : token_(token) {}
  void Intercept(experimental::InterceptorBatchMethods* call) override {
    if (call->QueryInterceptionHookPoint(
            experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      call->GetSendInitialMetadata()->insert({"authorization", absl::StrCat("Bearer ", token_)});
    }
    call->Proceed();
  }

 private:
  const std::string& token_;
};

class TokenSenders final : public experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TokenSenders(std::string token) : token_(std::move(token)) {}
  experimental::Interceptor* CreateClientInterceptor(experimental::ClientRpcInfo*) override {
    return new TokenSender(token_);
  }

 private:
  const std::string token_;
};

// Why there is no connection, by what gRPC says of it; "" where that is clear.
std::string Explain(const std::string& message, const Peer& peer) {
  // As OpenSSL and BoringSSL write it.
  const std::string plain = absl::StrReplaceAll(absl::AsciiStrToLower(message), {{"_", " "}});
  const auto says = [&plain](const char* part) { return absl::StrContains(plain, part); };
  if (says("wrong version number")) {
    return "; the port speaks no TLS: leave out --ca, --cert and --tls";
  }
  if (says("http1.x server")) return "; an HTTP server answers there: the port of the live page?";
  if (says("certificate verify failed")) return "; --ca FILE names whom to trust";
  if (!says("socket closed") && !says("connection reset by peer")) return "";
  return peer.tls ? "; if the port asks for a client's certificate: --cert FILE --key FILE"
                  : "; if the port speaks TLS: --ca FILE, or --tls";
}

// Another service answers; where the right one is by default.
std::string WrongPort(const std::string& message, const Peer& peer) {
  return absl::StrCat(
      peer.address, " does not know this call",
      message.empty() ? "" : absl::StrCat(" (", message, ")"),
      ": another service answers there, or an older server; ",
      peer.is_admin ? "--admin is the address of olmoe-server's admin port (its --admin-listen, "
                      "by default 127.0.0.1:50052)"
                    : "--server is the address of olmoe-server's public port (its --listen, by "
                      "default 127.0.0.1:50051)");
}

std::string MessageOf(const grpc::Status& status, const Peer& peer) {
  const std::string& message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) return WrongPort(message, peer);
  const bool unreachable = status.error_code() == grpc::StatusCode::UNAVAILABLE;
  if (!unreachable && status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) return message;
  std::string text =
      unreachable ? absl::StrCat(peer.address, ": ", message, Explain(message, peer)) : message;
  if (const auto proxy = ProxyFor(peer.address)) {
    absl::StrAppend(&text, "; the way there is the proxy ", *proxy,
                    " (no_proxy=HOST goes around it)");
  }
  return text;
}

std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(const Credentials& credentials) {
  if (!credentials.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = credentials.ca;
  options.pem_private_key = credentials.key;
  options.pem_cert_chain = credentials.certificate;
  return grpc::SslCredentials(options);
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const std::string& address, const Credentials& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // traces grow with the request
  // Else gRPC would ask a proxy of the environment for this very machine.
  if (StaysOnThisMachine(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  std::vector<std::unique_ptr<experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!credentials.token.empty()) {
    interceptors.push_back(std::make_unique<TokenSenders>(credentials.token));
  }
  return experimental::CreateCustomChannelWithInterceptors(address, ChannelCredentials(credentials),
                                                           arguments, std::move(interceptors));
}

void SetDeadline(absl::Duration timeout, grpc::ClientContext* context) {
  if (timeout == absl::InfiniteDuration()) return;
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
}

absl::Status WithDetails(int code, const std::string& message, const google::rpc::Status& from) {
  absl::Status status(static_cast<absl::StatusCode>(code), message);
  for (const auto& detail : from.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

absl::Status FromGrpc(const grpc::Status& status, const Peer& peer) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  return WithDetails(status.error_code(), MessageOf(status, peer), details);
}

}  // namespace olmoe::client::transport
