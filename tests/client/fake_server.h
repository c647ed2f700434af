#ifndef OLMOE_TESTS_CLIENT_FAKE_SERVER_H_
#define OLMOE_TESTS_CLIENT_FAKE_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client {

// A server on a free port of this machine that answers what the test has put into
// it, and keeps the last request of each kind. Set up before the call, read after
// it: thread-compatible.
class FakeServer {
 public:
  FakeServer();  // started
  ~FakeServer();

  const std::string& address() const { return address_; }

  // Not OK: every call fails with it, payloads as google.rpc details.
  absl::Status failure;

  std::vector<v1::GenerateStreamResponse> events;
  // The stream goes on after the events, one "x" at a time, until it is cancelled.
  bool endless = false;
  absl::Notification cancelled;  // an endless stream has been cancelled

  // Set: answers GenerateStream in place of all of the above, on a thread of the server for
  // each stream; `write` is false where the client has gone.
  std::function<absl::Status(const v1::GenerateRequest&,
                             const std::function<bool(const v1::GenerateStreamResponse&)>& write)>
      on_generate_stream;

  v1::GenerateRequest generate_request;
  v1::GenerateResponse generate_response;
  absl::Status score_failure;  // not OK: Score fails with it
  v1::ScoreRequest score_request;
  v1::ScoreResponse score_response;
  // Set: answers Score, on a thread of the server.
  std::function<absl::StatusOr<v1::ScoreResponse>(const v1::ScoreRequest&)> on_score;
  // Answers each request of a ScoreStream, on a thread of the server.
  std::function<absl::StatusOr<v1::ScoreResponse>(const v1::ScoreRequest&)> on_score_stream;
  v1::TokenizeRequest tokenize_request;
  v1::TokenizeResponse tokenize_response;
  v1::DetokenizeRequest detokenize_request;
  v1::DetokenizeResponse detokenize_response;
  v1::GetModelInfoResponse model_info;
  v1::PatchRoutersRequest patch_request;
  v1::UnpatchRoutersRequest unpatch_request;
  v1::PatchRoutersResponse patch_response;
  // Set: answers PatchRouters, on a thread of the server.
  std::function<absl::StatusOr<v1::PatchRoutersResponse>(const v1::PatchRoutersRequest&)> on_patch;
  v1::GetRoutingResponse routing_response;
  v1::RollbackRoutingRequest rollback_request;
  v1::RenewRoutingRequest renew_request;
  v1::RenewRoutingResponse renew_response;
  std::vector<v1::PlanRecord> history;  // given out in pages, tokens are positions
  std::vector<v1::WatchRoutingResponse> routing_events;
  // Each unit gets arm "control" and the number of its call as bucket.
  std::vector<v1::ExplainAssignmentRequest> explain_requests;
  v1::GetExpertStatsRequest stats_request;
  v1::GetExpertStatsResponse stats_response;
  v1::WatchExpertStatsRequest watch_stats_request;  // answered by two stats_response
  std::vector<v1::PutCalibrationRequest> put_messages;
  v1::BuildCalibrationRequest build_request;
  std::vector<v1::LayerCdf> calibration_layers;
  v1::CalibrationInfo calibration;
  v1::DeleteCalibrationRequest delete_request;
  std::vector<v1::PutRouterRequest> put_router_messages;
  v1::GetRouterRequest get_router_request;
  std::vector<v1::RouterLayer> router_layers;
  v1::RouterInfo router;
  v1::DeleteRouterRequest delete_router_request;
  v1::DrainRequest drain_request;
  v1::DrainResponse drain_response;
  v1::GetServerStatusResponse status_response;

  void SetServing(const std::string& service, bool serving);

 private:
  struct Services;
  std::unique_ptr<Services> services_;
  std::string address_;
};

}  // namespace olmoe::client

#endif  // OLMOE_TESTS_CLIENT_FAKE_SERVER_H_
