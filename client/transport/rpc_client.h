#ifndef OLMOE_CLIENT_TRANSPORT_RPC_CLIENT_H_
#define OLMOE_CLIENT_TRANSPORT_RPC_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/transport/credentials.h"
#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::transport {

// The calls of a server, one method an RPC, and with bench/async_calls.h the only
// part of olmoectl that knows gRPC: its generated headers are slow to compile and stay in
// the .cc files.
// Connects at the first call. A failed call is an absl::Status with the server's
// google.rpc details as payloads under their type URLs. Ctrl-C cancels a call.
// Thread-compatible.
class RpcClient {
 public:
  struct Options {
    std::string server;  // host:port of InferenceService
    std::string admin;   // host:port of RoutingAdminService
    Credentials credentials;  // for both
    absl::Duration timeout = absl::InfiniteDuration();  // of one call
    bool interruptible = true;  // false: Ctrl-C does not cancel its calls
  };
  explicit RpcClient(Options options);
  ~RpcClient();

  const Options& options() const { return options_; }

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request);
  // Calls `on_event` for each message; where it returns false the call is
  // cancelled and the result is CANCELLED.
  absl::Status GenerateStream(
      const v1::GenerateRequest& request,
      const std::function<bool(const v1::GenerateStreamResponse&)>& on_event);
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request);
  // Many of them, at most `in_flight` (1..32) at a time, and answered in any order.
  // `next` fills in a request that has an id; false: there is none now, though there may
  // be after an answer. `on_answer` gets one answer a request; where it returns false
  // the call is cancelled and the result is CANCELLED.
  absl::Status ScoreStream(
      int in_flight, const std::function<bool(v1::ScoreRequest*)>& next,
      const std::function<bool(const std::string& request_id,
                               const absl::StatusOr<v1::ScoreResponse>&)>& on_answer);
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request);
  absl::StatusOr<v1::GetModelInfoResponse> GetModelInfo(const v1::GetModelInfoRequest& request);

  absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request);
  absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request);
  absl::StatusOr<v1::GetRoutingResponse> GetRouting(const v1::GetRoutingRequest& request);
  absl::StatusOr<v1::PatchRoutersResponse> RollbackRouting(
      const v1::RollbackRoutingRequest& request);
  absl::StatusOr<v1::RenewRoutingResponse> RenewRouting(const v1::RenewRoutingRequest& request);
  absl::StatusOr<v1::ListRoutingHistoryResponse> ListRoutingHistory(
      const v1::ListRoutingHistoryRequest& request);
  absl::StatusOr<v1::ExplainAssignmentResponse> ExplainAssignment(
      const v1::ExplainAssignmentRequest& request);
  // As GenerateStream.
  absl::Status WatchRouting(const std::function<bool(const v1::WatchRoutingResponse&)>& on_event);

  absl::StatusOr<v1::GetExpertStatsResponse> GetExpertStats(
      const v1::GetExpertStatsRequest& request);
  // As GenerateStream.
  absl::Status WatchExpertStats(
      const v1::WatchExpertStatsRequest& request,
      const std::function<bool(const v1::WatchExpertStatsResponse&)>& on_event);

  absl::StatusOr<v1::PutCalibrationResponse> PutCalibration(
      const std::string& calibration_id, const std::vector<v1::LayerCdf>& layers);
  absl::StatusOr<v1::PutRouterResponse> PutRouter(const std::string& router_id,
                                                  const std::vector<v1::RouterLayer>& layers);
  absl::StatusOr<std::vector<v1::RouterLayer>> GetRouter(const v1::GetRouterRequest& request);
  absl::StatusOr<v1::ListRoutersResponse> ListRouters(const v1::ListRoutersRequest& request);
  absl::StatusOr<v1::DeleteRouterResponse> DeleteRouter(const v1::DeleteRouterRequest& request);
  absl::StatusOr<v1::BuildCalibrationResponse> BuildCalibration(
      const v1::BuildCalibrationRequest& request);
  absl::StatusOr<std::vector<v1::LayerCdf>> GetCalibration(
      const v1::GetCalibrationRequest& request);
  absl::StatusOr<v1::ListCalibrationsResponse> ListCalibrations(
      const v1::ListCalibrationsRequest& request);
  absl::StatusOr<v1::DeleteCalibrationResponse> DeleteCalibration(
      const v1::DeleteCalibrationRequest& request);

  absl::StatusOr<v1::GetServerStatusResponse> GetServerStatus(
      const v1::GetServerStatusRequest& request);
  absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request);

  // grpc.health.v1: "SERVING", "NOT_SERVING", ... RoutingAdminService is asked on
  // the admin port, everything else on the server's.
  absl::StatusOr<std::string> CheckHealth(const std::string& service);

 private:
  struct Connection;
  Connection& server();
  Connection& admin();

  const Options options_;
  std::unique_ptr<Connection> server_;
  std::unique_ptr<Connection> admin_;
};

// What the server puts before a text that has no context: eos, or pad where eos lies
// outside the vocabulary, or 0 where both do.
uint32_t PrefixToken(const v1::GetModelInfoResponse& model);

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_RPC_CLIENT_H_
