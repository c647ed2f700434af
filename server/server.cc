#include "server/server.h"

#include <grpcpp/impl/service_type.h>
#include <grpcpp/version_info.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "server/access/warnings.h"
#include "server/api/plan_file.h"
#include "server/completions/responses.h"
#include "server/experiment/routers.h"
#include "server/http/monitoring.h"
#include "server/model/checkpoint.h"
#include "server/net/descriptors.h"
#include "server/net/listener.h"
#include "server/util/random.h"

namespace olmoe {
namespace {

// Long enough for the last messages to leave; after that only health watches and
// idle streams are open.
constexpr absl::Duration kCloseGrace = absl::Seconds(1);
// Fewer of a gRPC port are worth a word; 1,024 descriptors are enough for 176.
constexpr int kFewConnections = 128;

engine::EngineOptions EngineOptionsOf(const Options& options) {
  engine::EngineOptions engine;
  engine.max_batch_sequences = options.max_batch_sequences;
  engine.max_batch_tokens = options.max_batch_tokens;
  engine.itl_target = options.itl_target;
  engine.max_queue = options.max_queue;
  engine.slow_reader_timeout = options.slow_reader_timeout;
  return engine;
}

std::vector<std::string> HostsOf(const std::vector<HostPort>& addresses) {
  std::vector<std::string> hosts;
  for (const HostPort& address : addresses) hosts.push_back(address.host);
  return hosts;
}

// gRPC aborts where it gets none; it makes at least these.
void CheckThreadsForGrpc() {
  const unsigned number = 8 + 2 * std::max(1u, std::thread::hardware_concurrency());
  absl::Notification end;
  std::vector<std::thread> threads;
  const absl::Cleanup join = [&] {
    end.Notify();
    for (std::thread& thread : threads) thread.join();
  };
  for (unsigned i = 0; i < number; ++i) {
    threads.emplace_back([&end] { end.WaitForNotification(); });
  }
}

}  // namespace

Server::Server(Options options, log::LineWriter* log) : options_(std::move(options)) {
  if (!options_.request_log) return;
  request_log_ = std::make_unique<log::RequestLog>(
      log::RequestLog::Options{.format = options_.log_format}, log);
}

Server::~Server() {
  if (inference_server_ != nullptr || admin_server_ != nullptr) ClosePorts();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Create(Options options, log::LineWriter* log,
                                                       const model::LoadProgress& progress) {
  std::unique_ptr<Server> server(new Server(std::move(options), log));
  if (absl::Status status = server->OpenAccess(); !status.ok()) return status;
  if (absl::Status status = server->OpenState(); !status.ok()) return status;
  if (absl::Status status = server->ReadRoutingFile(); !status.ok()) return status;
  if (absl::Status status = server->BindPorts(); !status.ok()) return status;
  if (absl::Status status = server->LoadTokenizer(); !status.ok()) return status;
  if (absl::Status status = server->LoadSamplingDefaults(); !status.ok()) return status;
  if (absl::Status status = server->CheckRouting(); !status.ok()) return status;
  if (absl::Status status = server->LoadModel(progress); !status.ok()) return status;
  if (absl::Status status = server->PrepareRouters(); !status.ok()) return status;
  if (absl::Status status = server->MakeRouting(); !status.ok()) return status;
  server->MakeEngine();
  server->MakeContexts();
  return server;
}

// Before the model: another server in the directory is noticed before memory is taken.
absl::Status Server::OpenState() {
  calibrations_ = std::make_unique<routing::CalibrationSet>();
  routers_ = std::make_unique<routing::RouterSet>();
  if (options_.state_dir.empty()) return absl::OkStatus();
  auto state = state::StateStore::Open(options_.state_dir);
  if (!state.ok()) return state.status();
  state_ = *std::move(state);
  const auto calibrations = state_->calibrations().LoadAll();
  if (!calibrations.ok()) return calibrations.status();
  calibrations_ = std::make_unique<routing::CalibrationSet>(
      routing::CalibrationSet::Hooks{
          .before_add = [table = &state_->calibrations()](
                            const routing::Calibration& added) { return table->Put(added); },
          .before_remove = [table = &state_->calibrations()](
                               const std::string& id) { return table->Delete(id); }},
      *calibrations);
  const auto routers = state_->routers().LoadAll();
  if (!routers.ok()) return routers.status();
  routers_ = std::make_unique<routing::RouterSet>(routing::RouterSet::Hooks(), *routers);
  return absl::OkStatus();
}

routing::RouterSet::Hooks Server::RouterHooks() {
  return {.before_add =
              [this](const routing::Router& added) {
                const absl::Status status = experiment::CheckRoom(*routers_, added);
                return status.ok() && state_ != nullptr ? state_->routers().Put(added) : status;
              },
          .before_remove =
              [this](const std::string& id) {
                return state_ == nullptr ? absl::OkStatus() : state_->routers().Delete(id);
              }};
}

absl::Status Server::OpenAccess() {
  auto access = access::OpenAccess(options_.access);
  if (access.ok()) access_ = *std::move(access);
  return access.status();
}

// A port that is in use is noticed before the model is loaded; clients are refused until Start.
absl::Status Server::BindPorts() {
  const uint64_t descriptors = net::RaiseDescriptorLimit();
  port_limits_ = net::GrpcPortLimits(descriptors);
  if (port_limits_.in_all < kFewConnections) {
    LOG(WARNING) << "each gRPC port holds at most " << port_limits_.in_all << " connections, "
                 << port_limits_.per_client << " of one client: this process may open only "
                 << descriptors << " files (ulimit -Hn)";
  }
  for (auto& [addresses, listener] :
       {std::make_pair(&options_.listen, &inference_listener_),
        std::make_pair(&options_.admin_listen, &admin_listener_),
        std::make_pair(&options_.http_listen, &http_listener_),
        std::make_pair(&options_.completions_listen, &completions_listener_)}) {
    if (addresses->empty()) continue;
    std::vector<std::string> names;
    for (const HostPort& address : *addresses) names.push_back(address.ToString());
    auto bound = net::Listener::Bind(names);
    if (!bound.ok()) return bound.status();
    *listener = *std::move(bound);
  }
  served_on_ = absl::StrCat(inference_listener_->name(), ", admin on ", admin_listener_->name(),
                            ", HTTP on ", http_listener_->name());
  if (completions_listener_) {
    absl::StrAppend(&served_on_, ", completions on ", completions_listener_->name());
  }
  return absl::OkStatus();
}

absl::Status Server::LoadTokenizer() {
  auto tokenizer = text::Tokenizer::FromFolder(options_.model.dir);
  if (absl::IsNotFound(tokenizer.status())) return absl::OkStatus();
  if (!tokenizer.ok()) return tokenizer.status();
  tokenizer_ = *std::move(tokenizer);
  for (const std::string& note : tokenizer_->notes()) LOG(INFO) << "tokenizer.json: " << note;
  return absl::OkStatus();
}

absl::Status Server::LoadSamplingDefaults() {
  if (!options_.model_sampling) return absl::OkStatus();
  const auto defaults = model::ReadSamplingDefaults(options_.model.dir);
  if (defaults.ok()) serving_.sampling_defaults = *defaults;
  return defaults.status();
}

absl::Status Server::LoadModel(const model::LoadProgress& progress) {
  model::LoadOptions options = options_.model;
  options.max_batch_tokens = EngineOptionsOf(options_).scheduler().MaxStepRows();
  auto model = model::LoadModel(options, progress);
  if (model.ok()) model_ = *std::move(model);
  return model.status();
}

absl::Status Server::ReadRoutingFile() {
  if (options_.routing_file.empty()) return absl::OkStatus();
  auto file = api::ReadPlanFile(options_.routing_file);
  if (file.ok()) routing_file_ = *std::move(file);
  return file.status();
}

routing::RoutingController::Options Server::RoutingOptions(
    const routing::RouterShape& shape) const {
  routing::RoutingController::Options options;
  options.shape = shape;
  options.max_arms = options_.max_arms;
  options.calibrations = calibrations_.get();
  options.routers = routers_.get();
  if (state_ != nullptr) options.store = &state_->plans();
  options.file = routing_file_;
  return options;
}

// By config.json, so that a plan that the model cannot run is told before minutes of
// loading.
absl::Status Server::CheckRouting() {
  const auto checkpoint = model::Checkpoint::Open(options_.model.dir);
  if (!checkpoint.ok()) return checkpoint.status();
  const model::OlmoeConfig& config = (*checkpoint)->config();
  const size_t values =
      static_cast<size_t>(config.num_experts) * static_cast<size_t>(config.hidden_size);
  for (const auto& router : routers_->List()) {
    if (router->Fits(config.num_layers, values)) continue;
    LOG(WARNING) << "the stored router " << router->name()
                 << " is of another model: it stays in --state-dir and is not served";
    if (absl::Status status = routers_->Remove(router->name()); !status.ok()) return status;
  }
  return routing::RoutingController::Check(RoutingOptions((*checkpoint)->config().router_shape()));
}

// Those of the state directory, which are of this model by now.
absl::Status Server::PrepareRouters() {
  std::vector<std::shared_ptr<const routing::Router>> prepared;
  for (const auto& stored : routers_->List()) {
    auto router = experiment::MakeRouter(
        {.router_id = stored->router_id(), .layers = stored->layers()}, *model_);
    if (!router.ok()) return router.status();
    prepared.push_back(*std::move(router));
  }
  routers_ = std::make_unique<routing::RouterSet>(RouterHooks(), prepared);
  return absl::OkStatus();
}

absl::Status Server::MakeRouting() {
  auto controller =
      routing::RoutingController::Create(RoutingOptions(model_->info().router_shape()));
  if (controller.ok()) controller_ = *std::move(controller);
  return controller.status();
}

void Server::MakeEngine() {
  limits::CallLimits::Options limits;
  limits.max_request_memory = options_.max_request_memory;
  limits.answers.timeout = options_.slow_reader_timeout;
  call_limits_ = std::make_unique<limits::CallLimits>(std::move(limits));
  stats::ServerMetrics::Options metrics;
  metrics.model = model_->info();
  metrics.server_version = ServerVersion();
  metrics.expert_metrics = options_.expert_metrics;
  metrics_ = std::make_unique<stats::ServerMetrics>(std::move(metrics));
  stats::StatsCursors::Options cursors;
  cursors.run = RandomBits();
  expert_stats_ = std::make_unique<stats::StatsCursors>(&metrics_->experts(), std::move(cursors));

  engine_ = engine::Engine::Create(
      EngineOptionsOf(options_), model_.get(), tokenizer_.get(),
      [metrics = metrics_.get()](const std::vector<engine::StepRows>& rows,
                                 const routing::RoutingRecord& record, absl::Duration step_time) {
        metrics->OnStep(rows, record, step_time);
      });
  metrics_->SetSources(engine_.get(), &controller_->slot());
}

void Server::MakeContexts() {
  serving_.engine = engine_.get();
  serving_.controller = controller_.get();
  serving_.calibrations = calibrations_.get();
  serving_.routers = routers_.get();
  serving_.loaded_model = model_.get();
  serving_.tokenizer = tokenizer_.get();
  serving_.model = model_->info();
  serving_.allow_inline_policy = options_.allow_inline_policy;
  serving_.prefix_cache = options_.prefix_cache;
  serving_.on_request_done = [this](const engine::RequestOutcome& outcome) {
    OnRequestDone(outcome);
  };

  rpc::CallContext call;
  call.behind_proxy = options_.behind_proxy;
  call.limits = call_limits_.get();
  call.large_requests = &large_requests_;
  call.disconnect = [this](const std::string& peer) { Disconnect(peer); };

  inference_context_.call = call;
  inference_context_.call.gate = access_.inference.gate.get();
  inference_context_.serving = &serving_;
  inference_context_.max_batch_sequences = static_cast<uint32_t>(options_.max_batch_sequences);
  inference_context_.server_version = ServerVersion();

  admin_context_.call = call;
  admin_context_.call.gate = access_.admin.gate.get();
  admin_context_.serving = &serving_;
  admin_context_.expert_stats = expert_stats_.get();
  admin_context_.watches = &watches_;
  admin_context_.start_time = absl::Now();
  admin_context_.count_series = [this](const routing::RoutingPlan& plan) {
    return metrics_->CountExpertSeries(plan);
  };
  admin_context_.on_swap = [this](std::string_view outcome, absl::Duration swap_duration) {
    metrics_->OnSwap(outcome, swap_duration);
  };
  admin_context_.on_drain = [this] {
    BecomeNotReady();
    if (completions_ != nullptr) completions_->Drain();
  };
}

void Server::OnRequestDone(const engine::RequestOutcome& outcome) {
  metrics_->OnRequestDone(outcome);
  if (completions_ != nullptr) completions_->Wake();
  if (request_log_ != nullptr) request_log_->Add(outcome);
}

absl::Status Server::Start() {
  CheckThreadsForGrpc();
  if (completions_listener_) MakeCompletions();
  for (const auto step : {&Server::ListenForInference, &Server::ListenForAdmin,
                          &Server::ListenForHttp, &Server::ListenForCompletions}) {
    if (absl::Status status = (this->*step)(); !status.ok()) return status;
  }
  both_listen_ = true;
  ready_ = true;
  TellReadiness();
  if (absl::Status status = WritePortsFile(); !status.ok()) return status;
  heap_trimmer_ = std::make_unique<HeapTrimmer>(
      HeapTrimmer::Options{.is_idle = [this] { return engine_->Load().arms.empty(); }});
  stats_marker_ = std::make_unique<Periodic>(absl::Seconds(10), [this] { expert_stats_->Mark(); });
  LogWhatIsServed();
  return absl::OkStatus();
}

absl::Status Server::ListenForInference() {
  auto server = rpc::GrpcServer::Create(*std::move(inference_listener_),
                                        {.service_name = rpc::kInferenceServiceName,
                                         .access = access_.inference,
                                         .connections = port_limits_,
                                         .probe = ProbeOf("--listen")},
                                        rpc::MakeInferenceService(&inference_context_));
  if (server.ok()) inference_server_ = *std::move(server);
  return server.status();
}

absl::Status Server::ListenForAdmin() {
  auto server = rpc::GrpcServer::Create(*std::move(admin_listener_),
                                        {.service_name = rpc::kAdminServiceName,
                                         .access = access_.admin,
                                         .connections = port_limits_,
                                         .probe = ProbeOf("--admin-listen")},
                                        rpc::MakeAdminService(&admin_context_));
  if (server.ok()) admin_server_ = *std::move(server);
  return server.status();
}

absl::Status Server::ListenForHttp() {
  http::LiveState::Options live;
  live.engine = engine_.get();
  live.controller = controller_.get();
  live.metrics = metrics_.get();
  live.model = model_->info();
  live.server_version = ServerVersion();
  live.start_time = admin_context_.start_time;
  live.ready = [this] { return IsReady(); };
  live_state_ = std::make_unique<http::LiveState>(std::move(live));
  auto routes = http::MonitoringRoutes({.metrics = metrics_.get(),
                                        .ready = [this] { return IsReady(); },
                                        .live = live_state_.get()});
  if (!routes.ok()) return routes.status();
  auto server = http::HttpServer::Create(
      {.listener = *std::move(http_listener_), .routes = *std::move(routes)});
  if (server.ok()) http_server_ = *std::move(server);
  return server.status();
}

// Before any port is open: what ends on one of them wakes those who wait here.
void Server::MakeCompletions() {
  completions::Completions::Options options;
  options.serving = &serving_;
  options.limits = call_limits_.get();
  options.behind_proxy = options_.behind_proxy;
  options.streams = static_cast<size_t>(options_.completions_streams);
  options.wait = options_.completions_wait;
  options.ready = [this] { return IsReady(); };
  completions_ = std::make_unique<completions::Completions>(options);
}

absl::Status Server::ListenForCompletions() {
  if (completions_ == nullptr) return absl::OkStatus();
  // Bodies stay with their connection until they are answered.
  constexpr int64_t kShareOfBodies = 4;
  http::HttpServer::Options options{.listener = *std::move(completions_listener_)};
  options.routes = completions_->Routes();
  options.tls = access_.inference.tls;
  options.gate = access_.inference.gate;
  options.limits.max_request_bytes =
      static_cast<size_t>(options_.max_request_memory / kShareOfBodies);
  options.limits.max_unread_bytes = options.limits.max_request_bytes;
  // Bodies of 16 MiB and answers of more take their time on ordinary lines.
  options.limits.request = std::chrono::minutes(2);
  options.limits.answer_bytes_per_second = 256 << 10;  // as for the gRPC ports
  options.refusal = completions::RefusalJson;
  options.stop_grace = absl::ToChronoMilliseconds(kCloseGrace);
  auto server = http::HttpServer::Create(std::move(options));
  if (server.ok()) completions_server_ = *std::move(server);
  return server.status();
}

void Server::Disconnect(const std::string& peer) {
  if (!both_listen_) return;
  inference_server_->Disconnect(peer);
  admin_server_->Disconnect(peer);
}

// Written beside its place and moved there: a reader sees nothing or all of it.
absl::Status Server::WritePortsFile() const {
  if (options_.ports_file.empty()) return absl::OkStatus();
  const std::string unfinished = options_.ports_file + ".tmp";
  std::ofstream file(unfinished, std::ios::trunc);
  nlohmann::json ports = {{"listen", port()}, {"admin", admin_port()}, {"http", http_port()}};
  if (completions_server_ != nullptr) ports["completions"] = completions_port();
  file << ports.dump() << "\n";
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
            << " on " << model.device << " by " << model.kernels << ", context "
            << model.max_context << ") on " << served_on_;
  const auto hosts = HostsOf(options_.listen), admin_hosts = HostsOf(options_.admin_listen);
  auto public_hosts = HostsOf(options_.completions_listen);  // with the tokens and TLS of --listen
  public_hosts.insert(public_hosts.end(), hosts.begin(), hosts.end());
  for (const std::string& warning :
       access::AccessWarnings(options_.access, public_hosts, admin_hosts)) {
    LOG(WARNING) << warning;
  }
  if (!options_.behind_proxy) {
    for (const std::string& warning :
         access::EdgeWarnings(GRPC_CPP_VERSION_STRING, hosts, admin_hosts)) {
      LOG(WARNING) << warning;
    }
  }
  if (tokenizer_ == nullptr) LOG(WARNING) << "the model has no tokenizer.json: token ids only";
  const auto plan = controller_->CurrentRecord();
  LOG(INFO) << "routing generation " << plan->generation << ", source "
            << routing::PlanSourceName(plan->source);
  if (state_ == nullptr) {
    LOG(WARNING) << "routing plans, calibrations and routers are kept in memory only: a restart "
                    "serves the model's own routing (--state-dir keeps them)";
  }
}

void Server::ReloadRouting() {
  if (options_.routing_file.empty()) {
    LOG(WARNING) << "SIGHUP: there is no --routing file to read";
    return;
  }
  const auto file = api::ReadPlanFile(options_.routing_file);
  const auto result = file.ok() ? controller_->ApplyFile(*file) : file.status();
  if (!result.ok()) {
    LOG(ERROR) << "SIGHUP: nothing changes: " << result.status().message();
    return;
  }
  LOG(INFO) << "SIGHUP: routing generation " << result->record.generation
            << (result->changed ? " from " : " is already that of ") << options_.routing_file;
}

void Server::BecomeNotReady() {
  ready_ = false;
  TellReadiness();
}

void Server::TellReadiness() {
  if (!both_listen_) return;
  absl::MutexLock lock(&tell_mu_);
  const bool both_answer = num_silent_ports_ == 0;
  inference_server_->SetServing(ready_ && both_answer);
  admin_server_->SetServing(!draining_ && both_answer);
}

// Told on the connections and ports that are left; a balancer that asks by new ones sees it anyhow.
net::PortProbe::Options Server::ProbeOf(const char* flag) {
  net::PortProbe::Options probe;
  probe.on_change = [this, flag, patience = probe.patience](bool answers) {
    num_silent_ports_ += answers ? -1 : 1;
    if (answers) {
      LOG(INFO) << "the port of " << flag << " answers again";
    } else {
      LOG(ERROR) << "not ready: the port of " << flag << " has not answered for " << patience;
    }
    TellReadiness();
  };
  return probe;
}

int Server::Drain() {
  draining_ = true;
  BecomeNotReady();
  absl::SleepFor(options_.lame_duck);
  watches_.EndAll();
  if (completions_ != nullptr) completions_->Drain();
  const int cancelled = engine_->Drain(absl::Now() + options_.drain_grace);
  ClosePorts();
  return cancelled;
}

// Calls that wait for a message, and those that come now, end with UNAVAILABLE; the others have the
// grace; what is left, health watches among it, loses its connection.
void Server::ClosePorts() {
  call_limits_->Shut();
  // What is answered by now is written, within its grace; who still waits for an answer has none.
  if (completions_ != nullptr) completions_->Drain();
  if (completions_server_ != nullptr) completions_server_->Stop();
  if (completions_ != nullptr) completions_->AwaitCalls();
  call_limits_->AwaitCalls(absl::Now() + kCloseGrace);
  const absl::Time now = absl::Now();
  for (rpc::GrpcServer* server : {inference_server_.get(), admin_server_.get()}) {
    if (server != nullptr) server->Disconnect();
  }
  for (rpc::GrpcServer* server : {inference_server_.get(), admin_server_.get()}) {
    if (server != nullptr) server->Shutdown(now);
  }
  if (http_server_ != nullptr) http_server_->Stop();
}

}  // namespace olmoe
