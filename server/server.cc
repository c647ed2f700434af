#include "server/server.h"

#include <grpcpp/impl/service_type.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "server/rpc/admin_service.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/inference_service.h"

namespace olmoe {
namespace {

// Long enough for the last messages to leave; after that only health watches and
// idle streams are open.
constexpr absl::Duration kCloseGrace = absl::Seconds(1);

}  // namespace

Server::Server(Options options) : options_(std::move(options)) {}

Server::~Server() {
  if (inference_server_ != nullptr || admin_server_ != nullptr) ClosePorts();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Create(Options options,
                                                       const model::LoadProgress& progress) {
  std::unique_ptr<Server> server(new Server(std::move(options)));
  if (absl::Status status = server->LoadTokenizer(); !status.ok()) return status;
  if (absl::Status status = server->LoadModel(progress); !status.ok()) return status;
  server->MakeRouting();
  server->MakeEngine();
  server->MakeContext();
  return server;
}

absl::Status Server::LoadTokenizer() {
  auto tokenizer = text::Tokenizer::FromFile(options_.model.dir + "/tokenizer.json");
  if (absl::IsNotFound(tokenizer.status())) return absl::OkStatus();
  if (tokenizer.ok()) tokenizer_ = *std::move(tokenizer);
  return tokenizer.status();
}

absl::Status Server::LoadModel(const model::LoadProgress& progress) {
  auto model = model::LoadModel(options_.model, progress);
  if (model.ok()) model_ = *std::move(model);
  return model.status();
}

void Server::MakeRouting() {
  routing::RoutingController::Options options;
  options.shape = model_->info().router_shape();
  options.max_arms = options_.max_arms;
  controller_ = std::make_unique<routing::RoutingController>(std::move(options));
}

void Server::MakeEngine() {
  stats::ServerMetrics::Options metrics;
  metrics.model = model_->info();
  metrics.server_version = ServerVersion();
  metrics.expert_metrics = options_.expert_metrics;
  metrics_ = std::make_unique<stats::ServerMetrics>(std::move(metrics));

  engine::EngineOptions options;
  options.max_batch_sequences = options_.max_batch_sequences;
  options.max_batch_tokens = options_.model.max_batch_tokens;
  options.max_queue = options_.max_queue;
  engine_ = engine::Engine::Create(
      options, model_.get(), tokenizer_.get(),
      [metrics = metrics_.get()](const std::vector<engine::StepRows>& rows,
                                 const routing::RoutingRecord& record, absl::Duration step_time) {
        metrics->OnStep(rows, record, step_time);
      });
  metrics_->SetSources(engine_.get(), &controller_->slot());
}

void Server::MakeContext() {
  context_.engine = engine_.get();
  context_.controller = controller_.get();
  context_.tokenizer = tokenizer_.get();
  context_.model = model_->info();
  context_.large_requests = &large_requests_;
  context_.allow_inline_policy = options_.allow_inline_policy;
  context_.max_batch_sequences = static_cast<uint32_t>(options_.max_batch_sequences);
  context_.count_series = [this](const routing::RoutingPlan& plan) {
    return metrics_->CountExpertSeries(plan);
  };
  context_.server_version = ServerVersion();
  context_.start_time = absl::Now();
  context_.on_request_done = [this](const rpc::RequestOutcome& outcome) { OnRequestDone(outcome); };
  context_.on_swap = [this](const rpc::SwapOutcome& swap) {
    metrics_->OnSwap(swap.outcome, swap.swap_duration);
  };
  context_.on_drain = [this] { BecomeNotReady(); };
}

void Server::OnRequestDone(const rpc::RequestOutcome& outcome) {
  VLOG(1) << outcome.method << " " << outcome.request_id << " arm " << outcome.arm_id
          << " generation " << outcome.generation << ": " << outcome.status;
  stats::RequestSample sample;
  sample.arm_id = outcome.arm_id;
  sample.method = outcome.method;
  sample.code = rpc::StatusCodeName(outcome.status.code());
  sample.assignment = outcome.assignment;
  sample.completion = outcome.completion;
  sample.scored_logprob_sum = outcome.scored_logprob_sum;
  metrics_->OnRequestDone(sample);
}

absl::Status Server::Start() {
  for (const auto step : {&Server::ListenForInference, &Server::ListenForAdmin,
                          &Server::ListenForHttp}) {
    if (absl::Status status = (this->*step)(); !status.ok()) return status;
  }
  ready_ = true;
  if (absl::Status status = WritePortsFile(); !status.ok()) return status;
  LogWhatIsServed();
  return absl::OkStatus();
}

absl::Status Server::ListenForInference() {
  auto server = rpc::GrpcServer::Create(
      {.address = options_.listen.ToString(), .service_name = rpc::kInferenceServiceName},
      rpc::MakeInferenceService(&context_));
  if (server.ok()) inference_server_ = *std::move(server);
  return server.status();
}

absl::Status Server::ListenForAdmin() {
  auto server = rpc::GrpcServer::Create(
      {.address = options_.admin_listen.ToString(), .service_name = rpc::kAdminServiceName},
      rpc::MakeAdminService(&context_));
  if (server.ok()) admin_server_ = *std::move(server);
  return server.status();
}

absl::Status Server::ListenForHttp() {
  auto server = http::HttpServer::Create({.host = options_.http_listen.host,
                                          .port = options_.http_listen.port,
                                          .metrics = metrics_.get(),
                                          .ready = [this] { return ready_.load(); }});
  if (server.ok()) http_server_ = *std::move(server);
  return server.status();
}

// Written beside its place and moved there: a reader sees nothing or all of it.
absl::Status Server::WritePortsFile() const {
  if (options_.ports_file.empty()) return absl::OkStatus();
  const std::string unfinished = options_.ports_file + ".tmp";
  std::ofstream file(unfinished, std::ios::trunc);
  file << nlohmann::json{{"listen", port()}, {"admin", admin_port()}, {"http", http_port()}}.dump()
       << "\n";
  file.close();
  if (!file || std::rename(unfinished.c_str(), options_.ports_file.c_str()) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot write the ports file ", options_.ports_file));
  }
  return absl::OkStatus();
}

void Server::LogWhatIsServed() const {
  const model::ModelInfo& model = model_->info();
  LOG(INFO) << "serving " << model.model_id << " (" << model.num_layers << " layers, "
            << model.num_experts << " experts, top-" << model.default_top_k << ", " << model.dtype
            << " on " << model.device << ", context " << model.max_context << ") on "
            << options_.listen.host << ":" << port() << ", admin on "
            << options_.admin_listen.host << ":" << admin_port() << ", HTTP on "
            << options_.http_listen.host << ":" << http_port();
  if (tokenizer_ == nullptr) LOG(WARNING) << "the model has no tokenizer.json: token ids only";
  LOG(WARNING) << "routing plans are kept in memory only: a restart serves the model's own routing";
}

void Server::BecomeNotReady() {
  ready_ = false;
  inference_server_->SetServing(false);
}

int Server::Drain() {
  BecomeNotReady();
  admin_server_->SetServing(false);
  absl::SleepFor(options_.lame_duck);
  const int cancelled = engine_->Drain(absl::Now() + options_.drain_grace);
  ClosePorts();
  return cancelled;
}

void Server::ClosePorts() {
  const absl::Time deadline = absl::Now() + kCloseGrace;
  if (inference_server_ != nullptr) inference_server_->Shutdown(deadline);
  if (admin_server_ != nullptr) admin_server_->Shutdown(deadline);
  if (http_server_ != nullptr) http_server_->Stop();
}

}  // namespace olmoe
