#include "tests/client/fake_server.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "olmoe/v1/inference.grpc.pb.h"

namespace olmoe::client {
namespace {

google::rpc::Status ToRpc(const absl::Status& status) {
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  status.ForEachPayload([&details](absl::string_view type_url, const absl::Cord& value) {
    auto* detail = details.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(value));
  });
  return details;
}

grpc::Status ToGrpc(const absl::Status& status) {
  const google::rpc::Status details = ToRpc(status);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      details.SerializeAsString());
}

}  // namespace

struct FakeServer::Services final : v1::InferenceService::Service,
                                    v1::RoutingAdminService::Service {
  explicit Services(FakeServer* fake_in) : fake(fake_in) {}

  template <typename Request, typename Response>
  grpc::Status Answer(const Request& request, Request* kept, const Response& answer,
                      Response* response) {
    *kept = request;
    if (!fake->failure.ok()) return ToGrpc(fake->failure);
    *response = answer;
    return grpc::Status::OK;
  }

  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        v1::GenerateResponse* response) override {
    return Answer(*request, &fake->generate_request, fake->generate_response, response);
  }

  grpc::Status GenerateStream(grpc::ServerContext* context, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::GenerateStreamResponse>* writer) override {
    if (fake->on_generate_stream) {
      return ToGrpc(
          fake->on_generate_stream(*request, [&](const v1::GenerateStreamResponse& event) {
            return writer->Write(event) && !context->IsCancelled();
          }));
    }
    fake->generate_request = *request;
    for (const auto& event : fake->events) writer->Write(event);
    v1::GenerateStreamResponse more;
    more.mutable_delta()->set_text("x");
    while (fake->endless && !context->IsCancelled()) writer->Write(more);
    if (fake->endless) fake->cancelled.Notify();
    return ToGrpc(fake->failure);
  }

  grpc::Status Score(grpc::ServerContext*, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override {
    if (!fake->score_failure.ok()) return ToGrpc(fake->score_failure);
    if (fake->on_score) {
      const auto answer = fake->on_score(*request);
      if (answer.ok()) *response = *answer;
      return ToGrpc(answer.status());
    }
    return Answer(*request, &fake->score_request, fake->score_response, response);
  }

  grpc::Status ScoreStream(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ScoreStreamResponse, v1::ScoreStreamRequest>* stream) override {
    v1::ScoreStreamRequest request;
    while (stream->Read(&request)) {
      v1::ScoreStreamResponse answer;
      answer.set_request_id(request.request().request_id());
      auto response = fake->on_score_stream(request.request());
      if (response.ok()) {
        *answer.mutable_response() = *response;
      } else {
        *answer.mutable_error() = ToRpc(response.status());
      }
      stream->Write(answer);
    }
    return grpc::Status::OK;
  }

  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    return Answer(*request, &fake->tokenize_request, fake->tokenize_response, response);
  }

  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    return Answer(*request, &fake->detokenize_request, fake->detokenize_response, response);
  }

  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest* request,
                            v1::GetModelInfoResponse* response) override {
    v1::GetModelInfoRequest kept;
    return Answer(*request, &kept, fake->model_info, response);
  }

  grpc::Status PatchRouters(grpc::ServerContext*, const v1::PatchRoutersRequest* request,
                            v1::PatchRoutersResponse* response) override {
    if (fake->on_patch) {
      auto answer = fake->on_patch(*request);
      if (answer.ok()) *response = *std::move(answer);
      return ToGrpc(answer.status());
    }
    return Answer(*request, &fake->patch_request, fake->patch_response, response);
  }

  grpc::Status UnpatchRouters(grpc::ServerContext*, const v1::UnpatchRoutersRequest* request,
                              v1::PatchRoutersResponse* response) override {
    return Answer(*request, &fake->unpatch_request, fake->patch_response, response);
  }

  grpc::Status GetRouting(grpc::ServerContext*, const v1::GetRoutingRequest* request,
                          v1::GetRoutingResponse* response) override {
    v1::GetRoutingRequest kept;
    return Answer(*request, &kept, fake->routing_response, response);
  }

  grpc::Status RollbackRouting(grpc::ServerContext*, const v1::RollbackRoutingRequest* request,
                               v1::PatchRoutersResponse* response) override {
    return Answer(*request, &fake->rollback_request, fake->patch_response, response);
  }

  grpc::Status RenewRouting(grpc::ServerContext*, const v1::RenewRoutingRequest* request,
                            v1::RenewRoutingResponse* response) override {
    return Answer(*request, &fake->renew_request, fake->renew_response, response);
  }

  grpc::Status ListRoutingHistory(grpc::ServerContext*,
                                  const v1::ListRoutingHistoryRequest* request,
                                  v1::ListRoutingHistoryResponse* response) override {
    size_t next = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    for (uint32_t i = 0; i < request->page_size() && next < fake->history.size(); ++i) {
      *response->add_records() = fake->history[next++];
    }
    if (next < fake->history.size()) response->set_next_page_token(std::to_string(next));
    return ToGrpc(fake->failure);
  }

  grpc::Status WatchRouting(grpc::ServerContext*, const v1::WatchRoutingRequest*,
                            grpc::ServerWriter<v1::WatchRoutingResponse>* writer) override {
    for (const auto& event : fake->routing_events) writer->Write(event);
    return ToGrpc(fake->failure);
  }

  grpc::Status ExplainAssignment(grpc::ServerContext*, const v1::ExplainAssignmentRequest* request,
                                 v1::ExplainAssignmentResponse* response) override {
    fake->explain_requests.push_back(*request);
    for (const std::string& unit : request->unit_ids()) {
      auto* assignment = response->add_assignments();
      assignment->set_unit_id(unit);
      assignment->set_arm_id("control");
      assignment->set_bucket(static_cast<uint32_t>(fake->explain_requests.size()));
    }
    return ToGrpc(fake->failure);
  }

  grpc::Status GetExpertStats(grpc::ServerContext*, const v1::GetExpertStatsRequest* request,
                              v1::GetExpertStatsResponse* response) override {
    return Answer(*request, &fake->stats_request, fake->stats_response, response);
  }

  grpc::Status WatchExpertStats(grpc::ServerContext*, const v1::WatchExpertStatsRequest* request,
                                grpc::ServerWriter<v1::WatchExpertStatsResponse>* writer) override {
    fake->watch_stats_request = *request;
    v1::WatchExpertStatsResponse event;
    *event.mutable_delta() = fake->stats_response;
    for (int i = 0; i < 2; ++i) writer->Write(event);
    return ToGrpc(fake->failure);
  }

  grpc::Status PutCalibration(grpc::ServerContext*,
                              grpc::ServerReader<v1::PutCalibrationRequest>* reader,
                              v1::PutCalibrationResponse* response) override {
    v1::PutCalibrationRequest message;
    while (reader->Read(&message)) fake->put_messages.push_back(message);
    *response->mutable_calibration() = fake->calibration;
    return ToGrpc(fake->failure);
  }

  grpc::Status BuildCalibration(grpc::ServerContext*, const v1::BuildCalibrationRequest* request,
                                v1::BuildCalibrationResponse* response) override {
    *response->mutable_calibration() = fake->calibration;
    return Answer(*request, &fake->build_request, v1::BuildCalibrationResponse(*response),
                  response);
  }

  grpc::Status GetCalibration(grpc::ServerContext*, const v1::GetCalibrationRequest*,
                              grpc::ServerWriter<v1::GetCalibrationResponse>* writer) override {
    v1::GetCalibrationResponse message;
    for (const auto& layer : fake->calibration_layers) {
      *message.mutable_layer_cdf() = layer;
      writer->Write(message);
    }
    return ToGrpc(fake->failure);
  }

  grpc::Status ListCalibrations(grpc::ServerContext*, const v1::ListCalibrationsRequest*,
                                v1::ListCalibrationsResponse* response) override {
    *response->add_calibrations() = fake->calibration;
    return ToGrpc(fake->failure);
  }

  grpc::Status DeleteCalibration(grpc::ServerContext*, const v1::DeleteCalibrationRequest* request,
                                 v1::DeleteCalibrationResponse* response) override {
    return Answer(*request, &fake->delete_request, v1::DeleteCalibrationResponse(), response);
  }

  grpc::Status PutRouter(grpc::ServerContext*, grpc::ServerReader<v1::PutRouterRequest>* reader,
                         v1::PutRouterResponse* response) override {
    v1::PutRouterRequest message;
    while (reader->Read(&message)) fake->put_router_messages.push_back(message);
    *response->mutable_router() = fake->router;
    return ToGrpc(fake->failure);
  }

  grpc::Status GetRouter(grpc::ServerContext*, const v1::GetRouterRequest* request,
                         grpc::ServerWriter<v1::GetRouterResponse>* writer) override {
    fake->get_router_request = *request;
    v1::GetRouterResponse message;
    for (const auto& layer : fake->router_layers) {
      *message.mutable_router_layer() = layer;
      writer->Write(message);
    }
    return ToGrpc(fake->failure);
  }

  grpc::Status ListRouters(grpc::ServerContext*, const v1::ListRoutersRequest*,
                           v1::ListRoutersResponse* response) override {
    *response->add_routers() = fake->router;
    return ToGrpc(fake->failure);
  }

  grpc::Status DeleteRouter(grpc::ServerContext*, const v1::DeleteRouterRequest* request,
                            v1::DeleteRouterResponse* response) override {
    return Answer(*request, &fake->delete_router_request, v1::DeleteRouterResponse(), response);
  }

  grpc::Status Drain(grpc::ServerContext*, const v1::DrainRequest* request,
                     v1::DrainResponse* response) override {
    return Answer(*request, &fake->drain_request, fake->drain_response, response);
  }

  grpc::Status GetServerStatus(grpc::ServerContext*, const v1::GetServerStatusRequest* request,
                               v1::GetServerStatusResponse* response) override {
    v1::GetServerStatusRequest kept;
    return Answer(*request, &kept, fake->status_response, response);
  }

  FakeServer* const fake;
  std::unique_ptr<grpc::Server> server;
};

FakeServer::FakeServer() : services_(std::make_unique<Services>(this)) {
  grpc::EnableDefaultHealthCheckService(true);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<v1::InferenceService::Service*>(services_.get()));
  builder.RegisterService(static_cast<v1::RoutingAdminService::Service*>(services_.get()));
  services_->server = builder.BuildAndStart();
  CHECK(services_->server != nullptr);
  address_ = absl::StrCat("127.0.0.1:", port);
  SetServing("olmoe.v1.InferenceService", true);
  SetServing("olmoe.v1.RoutingAdminService", true);
}

FakeServer::~FakeServer() { services_->server->Shutdown(); }

void FakeServer::SetServing(const std::string& service, bool serving) {
  services_->server->GetHealthCheckService()->SetServingStatus(service, serving);
}

}  // namespace olmoe::client
