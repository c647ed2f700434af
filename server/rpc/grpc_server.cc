#include "server/rpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/time/clock.h"
#include "server/rpc/port_credentials.h"

namespace olmoe::rpc {
namespace {

// Both are switches of the whole process, read by every ServerBuilder after them.
void EnableHealthAndReflection() {
  static const bool done = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)done;
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

void SetLimits(const GrpcServer::Options& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options.max_metadata_bytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  // A few bytes could become gigabytes: the only encoding is "identity".
  builder->AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
                              1 << GRPC_COMPRESS_NONE);
  // It would widen the windows of clients that send much.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
}

void SetLifetimes(grpc::ServerBuilder* builder) {
  // TLS and the first SETTINGS: a client that says nothing is not kept.
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              Milliseconds(absl::Seconds(10)));
  // A client that is gone without a word is noticed, and its streams cancelled.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(absl::Minutes(1)));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(absl::Seconds(20)));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Milliseconds(absl::Seconds(10)));
  // Clients connect again for their next call.
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(absl::Minutes(5)));
  // Open calls go on after a connection's age, and only new ones move to a new connection; but
  // without the grace nothing would ever end it.
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(absl::Hours(1)));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(absl::Hours(23)));
}

}  // namespace

GrpcServer::GrpcServer(Options options, std::unique_ptr<grpc::Service> service)
    : options_(std::move(options)),
      credentials_(MakePortCredentials(options_.access)),
      service_(std::move(service)) {}

GrpcServer::~GrpcServer() { Shutdown(absl::Now()); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Create(
    net::Listener listener, Options options, std::unique_ptr<grpc::Service> service) {
  EnableHealthAndReflection();
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(options), std::move(service)));
  if (absl::Status status = server->Start(std::move(listener)); !status.ok()) return status;
  return server;
}

absl::Status GrpcServer::Start(net::Listener listener) {
  port_ = listener.port();
  const std::vector<net::SocketAddress> addresses = net::AddressesToReach(listener);
  grpc::ServerBuilder builder;
  SetLimits(options_, &builder);
  SetLifetimes(&builder);
  door_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError("gRPC cannot start a server");
  SetServing(true);
  auto acceptor = net::Acceptor::Start(
      std::move(listener),
      {.limits = options_.connections, .on_connection = [this](int fd) { HandOver(fd); }});
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  for (const net::SocketAddress& address : addresses) {
    probes_.push_back(std::make_unique<net::PortProbe>(address, acceptor_.get(), options_.probe));
  }
  return absl::OkStatus();
}

void GrpcServer::HandOver(int fd) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = fd;
  door_->HandleNewConnection(&connection);
}

void GrpcServer::SetServing(bool serving) {
  if (auto* health = server_->GetHealthCheckService(); health != nullptr) {
    health->SetServingStatus(options_.service_name, serving);
  }
}

void GrpcServer::Disconnect() {
  probes_.clear();
  if (acceptor_ == nullptr) return;
  acceptor_->StopAccepting();
  acceptor_->ShutDownAll();
}

void GrpcServer::Shutdown(absl::Time deadline) {
  if (server_ == nullptr) return;
  probes_.clear();
  // Before the rest: gRPC would lose the descriptor of a connection that comes later.
  if (acceptor_ != nullptr) acceptor_->StopAccepting();
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
}

}  // namespace olmoe::rpc
