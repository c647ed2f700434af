#include "tests/rpc/test_server.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "gtest/gtest.h"

namespace olmoe::rpc {
namespace {

std::unique_ptr<GrpcServer> Listen(const char* name, std::unique_ptr<grpc::Service> service,
                                   const access::PortAccess& access) {
  auto server =
      GrpcServer::Create(BindOrDie(), {.service_name = name, .access = access}, std::move(service));
  CHECK(server.ok()) << server.status();
  return *std::move(server);
}

}  // namespace

TinyModel DefaultModel() {
  TinyModel model;
  model.vocab_size = engine::kTinyVocabSize;
  return model;
}

net::Listener BindOrDie(const std::string& address) {
  auto listener = net::Listener::Bind(address);
  CHECK(listener.ok()) << listener.status();
  return *std::move(listener);
}

std::shared_ptr<grpc::Channel> Connect(int port) {
  return ConnectTo(absl::StrCat("127.0.0.1:", port));
}

std::shared_ptr<grpc::Channel> ConnectTo(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // what is not read stays unsent
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

TestServer::TestServer(TestServerOptions options)
    : tokenizer_(options.tokenizer ? engine::MakeTinyTokenizer() : nullptr),
      model_(options.model),
      calibrations_(options.calibration_hooks),
      routers_(options.router_hooks),
      controller_({.shape = model_.info().router_shape(),
                   .calibrations = &calibrations_,
                   .routers = &routers_}),
      expert_stats_(model_.info().num_layers, model_.info().num_experts),
      limits_(options.limits),
      engine_(engine::Engine::Create(
          WithClock(options.engine), &model_, tokenizer_.get(),
          [this](const std::vector<engine::StepRows>& rows, const routing::RoutingRecord& record,
                 absl::Duration) { expert_stats_.AddStep(rows, record); })),
      large_requests_(options.large_requests),
      watches_(options.max_watches) {
  auto& [serving, inference, admin] = contexts_;
  serving.engine = engine_.get();
  serving.controller = &controller_;
  serving.calibrations = &calibrations_;
  serving.routers = &routers_;
  serving.loaded_model = &model_;
  serving.tokenizer = tokenizer_.get();
  serving.model = model_.info();
  serving.on_request_done = [this](const engine::RequestOutcome& outcome) {
    outcomes_.Add(outcome);
  };
  inference.serving = admin.serving = &serving;
  inference.server_version = "test";
  admin.expert_stats = &stats_cursors_;
  admin.watches = &watches_;
  admin.start_time = absl::Now();
  admin.on_swap = [this](std::string_view outcome, absl::Duration) {
    absl::MutexLock lock(&mu_);
    swaps_.emplace_back(outcome);
  };
  if (options.tune) options.tune(&contexts_);
  for (CallContext* call : {&inference.call, &admin.call}) {
    call->limits = &limits_;
    call->large_requests = &large_requests_;
    call->disconnect = [this](const std::string& peer) {
      if (!both_listen_) return;
      inference_server_->Disconnect(peer);
      admin_server_->Disconnect(peer);
    };
  }
  inference.call.gate = options.access.inference.gate.get();
  admin.call.gate = options.access.admin.gate.get();
  inference_server_ =
      Listen(kInferenceServiceName, MakeInferenceService(&inference), options.access.inference);
  admin_server_ = Listen(kAdminServiceName, MakeAdminService(&admin), options.access.admin);
  both_listen_ = true;
  inference_ = v1::InferenceService::NewStub(NewChannel());
  admin_ = v1::RoutingAdminService::NewStub(NewAdminChannel());
}

TestServer::~TestServer() { model_.Unhold(); }

std::shared_ptr<grpc::Channel> TestServer::NewChannel() const {
  return Connect(inference_server_->port());
}
std::shared_ptr<grpc::Channel> TestServer::NewAdminChannel() const {
  return Connect(admin_server_->port());
}

engine::EngineOptions TestServer::WithClock(engine::EngineOptions options) {
  options.now = [this] {
    absl::MutexLock lock(&mu_);
    return absl::Now() + passed_;
  };
  return options;
}

v1::GenerateResponse TestServer::Generate(const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = inference_->Generate(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

void TestServer::Unpatch() {
  grpc::ClientContext context;
  v1::PatchRoutersResponse response;
  ASSERT_TRUE(admin_->UnpatchRouters(&context, {}, &response).ok());
}

grpc::Status TestServer::Patch(const v1::PatchRoutersRequest& request) {
  grpc::ClientContext context;
  v1::PatchRoutersResponse response;
  return admin_->PatchRouters(&context, request, &response);
}

void TestServer::PassTime(absl::Duration duration) {
  absl::MutexLock lock(&mu_);
  passed_ += duration;
}

void TestServer::StepUntilOutcomes(size_t count) {
  while (outcomes().size() < count) {
    model_.Allow(1);
    grpc::ClientContext context;
    v1::GetModelInfoResponse info;
    CHECK(inference_->GetModelInfo(&context, {}, &info).ok());
  }
}

std::vector<std::string> TestServer::swaps() const {
  absl::MutexLock lock(&mu_);
  return swaps_;
}

v1::GenerateRequest TokenRequest(const std::vector<uint32_t>& prompt, uint32_t max_new_tokens) {
  v1::GenerateRequest request;
  request.mutable_tokens()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.set_max_new_tokens(max_new_tokens);
  request.mutable_sampling()->set_temperature(0);
  return request;
}

v1::GenerateRequest TextRequest(const std::string& prompt, uint32_t max_new_tokens) {
  v1::GenerateRequest request = TokenRequest({}, max_new_tokens);
  request.set_text(prompt);
  return request;
}

v1::PatchRoutersRequest TopKPatch(uint32_t k) {
  v1::PatchRoutersRequest request;
  request.mutable_policy()->set_policy_id(absl::StrCat("top-", k));
  request.mutable_policy()->mutable_apply()->mutable_top_k()->set_k(k);
  return request;
}

}  // namespace olmoe::rpc
