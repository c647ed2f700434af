#include "client/transport/rpc_client.h"

#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/transport/channel.h"
#include "client/transport/interrupt.h"
#include "google/protobuf/wrappers.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "olmoe/v1/inference.grpc.pb.h"

namespace olmoe::client::transport {
namespace {

using Inference = v1::InferenceService::Stub;
using Admin = v1::RoutingAdminService::Stub;

// A context that has the deadline of the options and is cancelled by Ctrl-C, where they say
// so. Thread-compatible.
class Call {
 public:
  Call(absl::Duration timeout, bool interruptible) {
    if (interruptible) interrupt_.emplace([this] { context.TryCancel(); });
    SetDeadline(timeout, &context);
  }
  grpc::ClientContext context;

 private:
  std::optional<InterruptScope> interrupt_;
};

absl::StatusOr<v1::ScoreResponse> FromAnswer(v1::ScoreStreamResponse answer) {
  if (!answer.has_error()) return std::move(*answer.mutable_response());
  absl::Status status =
      WithDetails(answer.error().code(), answer.error().message(), answer.error());
  if (status.ok()) return absl::InternalError("the server answered with an error that is OK");
  return status;
}

}  // namespace

// One channel and the stubs on it.
struct RpcClient::Connection {
  Connection(Peer peer_in, const Options& options)
      : peer(std::move(peer_in)),
        timeout(options.timeout),
        interruptible(options.interruptible),
        channel(Connect(peer.address, options.credentials)),
        stubs(channel, channel) {}

  template <typename Stub>
  Stub& stub() {
    return std::get<Stub>(stubs);
  }

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Unary(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Response*),
                                 const Request& request) {
    Call call(timeout, interruptible);
    Response response;
    absl::Status status = FromGrpc((stub<Stub>().*method)(&call.context, request, &response), peer);
    if (!status.ok()) return status;
    return response;
  }

  // `first`, then one message for each layer, which `part` puts into it; the first is both.
  template <typename Stub, typename Request, typename Response, typename Layer>
  absl::StatusOr<Response> Upload(
      std::unique_ptr<grpc::ClientWriter<Request>> (Stub::*method)(grpc::ClientContext*, Response*),
      Request first, const std::vector<Layer>& layers, Layer* (Request::*part)()) {
    Call call(timeout, interruptible);
    Response response;
    auto writer = (stub<Stub>().*method)(&call.context, &response);
    Request message = std::move(first);
    for (const Layer& layer : layers) {
      *(message.*part)() = layer;
      if (!writer->Write(message)) break;  // Finish says why
      message.Clear();
    }
    writer->WritesDone();
    const absl::Status status = FromGrpc(writer->Finish(), peer);
    if (!status.ok()) return status;
    return response;
  }

  // Each message to `on_event`; where that returns false the call is cancelled.
  template <typename Stub, typename Request, typename Response>
  absl::Status ServerStream(std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(
                                grpc::ClientContext*, const Request&),
                            const Request& request,
                            const std::function<bool(const Response&)>& on_event) {
    Call call(timeout, interruptible);
    auto reader = (stub<Stub>().*method)(&call.context, request);
    Response event;
    while (reader->Read(&event)) {
      if (!on_event(event)) call.context.TryCancel();
    }
    return FromGrpc(reader->Finish(), peer);
  }

  const Peer peer;
  const absl::Duration timeout;
  const bool interruptible;
  const std::shared_ptr<grpc::Channel> channel;
  std::tuple<Inference, Admin> stubs;
};

RpcClient::RpcClient(Options options) : options_(std::move(options)) {}
RpcClient::~RpcClient() = default;

RpcClient::Connection& RpcClient::server() {
  if (!server_) {
    server_ = std::make_unique<Connection>(
        Peer{options_.server, /*is_admin=*/false, options_.credentials.tls}, options_);
  }
  return *server_;
}

RpcClient::Connection& RpcClient::admin() {
  if (!admin_) {
    admin_ = std::make_unique<Connection>(
        Peer{options_.admin, /*is_admin=*/true, options_.credentials.tls}, options_);
  }
  return *admin_;
}

absl::StatusOr<v1::GenerateResponse> RpcClient::Generate(const v1::GenerateRequest& request) {
  return server().Unary(&Inference::Generate, request);
}

absl::Status RpcClient::GenerateStream(
    const v1::GenerateRequest& request,
    const std::function<bool(const v1::GenerateStreamResponse&)>& on_event) {
  return server().ServerStream(&Inference::GenerateStream, request, on_event);
}

absl::StatusOr<v1::ScoreResponse> RpcClient::Score(const v1::ScoreRequest& request) {
  return server().Unary(&Inference::Score, request);
}

// One thread is enough: the server reads on while it has fewer than 32 of a stream to
// answer, so writing never waits for reading.
absl::Status RpcClient::ScoreStream(
    int in_flight, const std::function<bool(v1::ScoreRequest*)>& next,
    const std::function<bool(const std::string& request_id,
                             const absl::StatusOr<v1::ScoreResponse>&)>& on_answer) {
  Call call(options_.timeout, options_.interruptible);
  auto stream = server().stub<Inference>().ScoreStream(&call.context);
  v1::ScoreStreamRequest message;
  v1::ScoreStreamResponse answer;
  int open = 0;
  for (;; --open) {
    while (open < in_flight && next(message.mutable_request()) && stream->Write(message)) {
      ++open;
      message.Clear();
    }
    if (open == 0 || !stream->Read(&answer)) break;
    const std::string request_id = answer.request_id();
    if (!on_answer(request_id, FromAnswer(std::move(answer)))) call.context.TryCancel();
  }
  stream->WritesDone();
  absl::Status status = FromGrpc(stream->Finish(), server().peer);
  if (status.ok() && open > 0) {
    return absl::InternalError(
        absl::StrCat("the stream ended with ", open, " unanswered requests"));
  }
  return status;
}

absl::StatusOr<v1::TokenizeResponse> RpcClient::Tokenize(const v1::TokenizeRequest& request) {
  return server().Unary(&Inference::Tokenize, request);
}

absl::StatusOr<v1::DetokenizeResponse> RpcClient::Detokenize(const v1::DetokenizeRequest& request) {
  return server().Unary(&Inference::Detokenize, request);
}

absl::StatusOr<v1::GetModelInfoResponse> RpcClient::GetModelInfo(
    const v1::GetModelInfoRequest& request) {
  return server().Unary(&Inference::GetModelInfo, request);
}

uint32_t PrefixToken(const v1::GetModelInfoResponse& model) {
  for (const uint32_t id : {model.eos_token_id(), model.pad_token_id()}) {
    if (id < model.vocab_size()) return id;
  }
  return 0;
}

absl::StatusOr<v1::PatchRoutersResponse> RpcClient::PatchRouters(
    const v1::PatchRoutersRequest& request) {
  return admin().Unary(&Admin::PatchRouters, request);
}

absl::StatusOr<v1::PatchRoutersResponse> RpcClient::UnpatchRouters(
    const v1::UnpatchRoutersRequest& request) {
  return admin().Unary(&Admin::UnpatchRouters, request);
}

absl::StatusOr<v1::GetRoutingResponse> RpcClient::GetRouting(const v1::GetRoutingRequest& request) {
  return admin().Unary(&Admin::GetRouting, request);
}

absl::StatusOr<v1::PatchRoutersResponse> RpcClient::RollbackRouting(
    const v1::RollbackRoutingRequest& request) {
  return admin().Unary(&Admin::RollbackRouting, request);
}

absl::StatusOr<v1::RenewRoutingResponse> RpcClient::RenewRouting(
    const v1::RenewRoutingRequest& request) {
  return admin().Unary(&Admin::RenewRouting, request);
}

absl::StatusOr<v1::ListRoutingHistoryResponse> RpcClient::ListRoutingHistory(
    const v1::ListRoutingHistoryRequest& request) {
  return admin().Unary(&Admin::ListRoutingHistory, request);
}

absl::StatusOr<v1::ExplainAssignmentResponse> RpcClient::ExplainAssignment(
    const v1::ExplainAssignmentRequest& request) {
  return admin().Unary(&Admin::ExplainAssignment, request);
}

absl::Status RpcClient::WatchRouting(
    const std::function<bool(const v1::WatchRoutingResponse&)>& on_event) {
  return admin().ServerStream(&Admin::WatchRouting, v1::WatchRoutingRequest(), on_event);
}

absl::StatusOr<v1::GetExpertStatsResponse> RpcClient::GetExpertStats(
    const v1::GetExpertStatsRequest& request) {
  return admin().Unary(&Admin::GetExpertStats, request);
}

absl::Status RpcClient::WatchExpertStats(
    const v1::WatchExpertStatsRequest& request,
    const std::function<bool(const v1::WatchExpertStatsResponse&)>& on_event) {
  return admin().ServerStream(&Admin::WatchExpertStats, request, on_event);
}

absl::StatusOr<v1::PutCalibrationResponse> RpcClient::PutCalibration(
    const std::string& calibration_id, const std::vector<v1::LayerCdf>& layers) {
  v1::PutCalibrationRequest first;
  first.set_calibration_id(calibration_id);
  return admin().Upload(&Admin::PutCalibration, std::move(first), layers,
                        &v1::PutCalibrationRequest::mutable_layer_cdf);
}

absl::StatusOr<v1::PutRouterResponse> RpcClient::PutRouter(
    const std::string& router_id, const std::vector<v1::RouterLayer>& layers) {
  v1::PutRouterRequest first;
  first.set_router_id(router_id);
  return admin().Upload(&Admin::PutRouter, std::move(first), layers,
                        &v1::PutRouterRequest::mutable_router_layer);
}

absl::StatusOr<std::vector<v1::RouterLayer>> RpcClient::GetRouter(
    const v1::GetRouterRequest& request) {
  std::vector<v1::RouterLayer> layers;
  const std::function<bool(const v1::GetRouterResponse&)> keep =
      [&layers](const v1::GetRouterResponse& message) {
        layers.push_back(message.router_layer());
        return true;
      };
  const absl::Status status = admin().ServerStream(&Admin::GetRouter, request, keep);
  if (!status.ok()) return status;
  return layers;
}

absl::StatusOr<v1::ListRoutersResponse> RpcClient::ListRouters(
    const v1::ListRoutersRequest& request) {
  return admin().Unary(&Admin::ListRouters, request);
}

absl::StatusOr<v1::DeleteRouterResponse> RpcClient::DeleteRouter(
    const v1::DeleteRouterRequest& request) {
  return admin().Unary(&Admin::DeleteRouter, request);
}

absl::StatusOr<v1::BuildCalibrationResponse> RpcClient::BuildCalibration(
    const v1::BuildCalibrationRequest& request) {
  return admin().Unary(&Admin::BuildCalibration, request);
}

absl::StatusOr<std::vector<v1::LayerCdf>> RpcClient::GetCalibration(
    const v1::GetCalibrationRequest& request) {
  std::vector<v1::LayerCdf> layers;
  const std::function<bool(const v1::GetCalibrationResponse&)> keep =
      [&layers](const v1::GetCalibrationResponse& message) {
        layers.push_back(message.layer_cdf());
        return true;
      };
  const absl::Status status = admin().ServerStream(&Admin::GetCalibration, request, keep);
  if (!status.ok()) return status;
  return layers;
}

absl::StatusOr<v1::ListCalibrationsResponse> RpcClient::ListCalibrations(
    const v1::ListCalibrationsRequest& request) {
  return admin().Unary(&Admin::ListCalibrations, request);
}

absl::StatusOr<v1::DeleteCalibrationResponse> RpcClient::DeleteCalibration(
    const v1::DeleteCalibrationRequest& request) {
  return admin().Unary(&Admin::DeleteCalibration, request);
}

absl::StatusOr<v1::GetServerStatusResponse> RpcClient::GetServerStatus(
    const v1::GetServerStatusRequest& request) {
  return admin().Unary(&Admin::GetServerStatus, request);
}

absl::StatusOr<v1::DrainResponse> RpcClient::Drain(const v1::DrainRequest& request) {
  return admin().Unary(&Admin::Drain, request);
}

// HealthCheckRequest is one string and HealthCheckResponse one enum, both field 1:
// on the wire that is StringValue and Int32Value, so no generated code is needed.
absl::StatusOr<std::string> RpcClient::CheckHealth(const std::string& service) {
  using HealthStub =
      grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value>;
  static constexpr std::string_view kNames[] = {"UNKNOWN", "SERVING", "NOT_SERVING",
                                                "SERVICE_UNKNOWN"};
  Connection& connection = absl::EndsWith(service, ".RoutingAdminService") ? admin() : server();
  Call call(options_.timeout, options_.interruptible);
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  grpc::Status status;
  absl::Notification done;
  HealthStub(connection.channel)
      .UnaryCall(&call.context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&](grpc::Status result) {
                   status = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) return FromGrpc(status, connection.peer);
  const int value = response.value();
  return std::string(value >= 0 && value < 4 ? kNames[value] : kNames[0]);
}

}  // namespace olmoe::client::transport
