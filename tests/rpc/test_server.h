// Both services over a FakeModel and a real engine, on ports of their own.
#ifndef OLMOE_TESTS_RPC_TEST_SERVER_H_
#define OLMOE_TESTS_RPC_TEST_SERVER_H_

#include <grpcpp/channel.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "olmoe/v1/inference.grpc.pb.h"
#include "server/access/access.h"
#include "server/engine/engine.h"
#include "server/limits/call_limits.h"
#include "server/limits/fair_workers.h"
#include "server/net/listener.h"
#include "server/routing/calibration.h"
#include "server/routing/controller.h"
#include "server/routing/router.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/inference_calls.h"
#include "server/rpc/open_watches.h"
#include "server/stats/stats_cursors.h"
#include "server/text/tokenizer.h"
#include "tests/engine/tiny_tokenizer.h"
#include "tests/support/fake_model.h"
#include "tests/support/outcome_log.h"

namespace olmoe::rpc {

using TinyModel = testing::FakeModelOptions;

// A model for the tiny tokenizer.
TinyModel DefaultModel();

// What the services are told.
struct Contexts {
  experiment::Serving serving;
  InferenceContext inference;
  AdminContext admin;
};

struct TestServerOptions {
  TinyModel model = DefaultModel();
  engine::EngineOptions engine = {};
  bool tokenizer = true;
  routing::CalibrationSet::Hooks calibration_hooks = {};
  routing::RouterSet::Hooks router_hooks = {};
  size_t max_watches = 64;
  limits::CallLimits::Options limits = {};
  limits::FairWorkers::Options large_requests = {};
  access::Access access = {};
  std::function<void(Contexts*)> tune = {};  // last changes before serving
};

using testing::Outcome;

// Thread-safe.
class TestServer {
 public:
  explicit TestServer(TestServerOptions options = {});
  ~TestServer();

  v1::InferenceService::Stub& inference() { return *inference_; }
  v1::RoutingAdminService::Stub& admin() { return *admin_; }
  // A connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel() const;
  std::shared_ptr<grpc::Channel> NewAdminChannel() const;

  // Calls that are expected to succeed.
  v1::GenerateResponse Generate(const v1::GenerateRequest& request);
  void Unpatch();
  // The same for one that may be refused.
  grpc::Status Patch(const v1::PatchRoutersRequest& request);

  testing::FakeModel& model() { return model_; }
  engine::Engine& engine() { return *engine_; }
  routing::RoutingController& controller() { return controller_; }
  routing::CalibrationSet& calibrations() { return calibrations_; }
  routing::RouterSet& routers() { return routers_; }
  // Counts from the server's beginning.
  const stats::ExpertStats& expert_stats() const { return expert_stats_; }
  GrpcServer& admin_server() { return *admin_server_; }
  GrpcServer& inference_server() { return *inference_server_; }
  const Contexts& contexts() const { return contexts_; }
  limits::CallLimits& limits() { return limits_; }
  limits::FairWorkers& large_requests() { return large_requests_; }

  // The engine's clock, which runs with the real one, jumps ahead. An idle engine looks at it when
  // it gets something to do.
  void PassTime(absl::Duration duration);

  // Waits until this many requests have ended.
  void AwaitOutcomes(size_t count) const { outcomes_.Await(count); }
  // Lets a held model go on until then, a step at a time. Between two of them a call goes to and
  // fro on the connection of `inference()`: a cancellation sent before gets there in fewer calls
  // than a long request has steps, on a machine of any speed.
  void StepUntilOutcomes(size_t count);
  std::vector<Outcome> outcomes() const { return outcomes_.all(); }
  std::vector<std::string> swaps() const;

 private:
  engine::EngineOptions WithClock(engine::EngineOptions options);

  testing::OutcomeLog outcomes_;
  mutable absl::Mutex mu_;
  std::vector<std::string> swaps_ ABSL_GUARDED_BY(mu_);
  absl::Duration passed_ ABSL_GUARDED_BY(mu_);

  const std::unique_ptr<text::Tokenizer> tokenizer_;
  testing::FakeModel model_;
  routing::CalibrationSet calibrations_;
  routing::RouterSet routers_;
  routing::RoutingController controller_;
  stats::ExpertStats expert_stats_;
  stats::StatsCursors stats_cursors_{&expert_stats_, {.run = 1}};
  limits::CallLimits limits_;
  std::unique_ptr<engine::Engine> engine_;
  limits::FairWorkers large_requests_;
  OpenWatches watches_;
  Contexts contexts_;
  std::atomic<bool> both_listen_ = false;
  std::unique_ptr<GrpcServer> inference_server_;
  std::unique_ptr<GrpcServer> admin_server_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::RoutingAdminService::Stub> admin_;
};

// An address of this machine that nobody else has.
net::Listener BindOrDie(const std::string& address = "127.0.0.1:0");

// Sets the channel's options that keep tests apart.
std::shared_ptr<grpc::Channel> Connect(int port);
std::shared_ptr<grpc::Channel> ConnectTo(const std::string& target);

// A request with token ids as the prompt, greedy.
v1::GenerateRequest TokenRequest(const std::vector<uint32_t>& prompt, uint32_t max_new_tokens);
v1::GenerateRequest TextRequest(const std::string& prompt, uint32_t max_new_tokens);

// Top-k for all traffic.
v1::PatchRoutersRequest TopKPatch(uint32_t k);

}  // namespace olmoe::rpc

#endif  // OLMOE_TESTS_RPC_TEST_SERVER_H_
