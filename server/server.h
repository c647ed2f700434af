#ifndef OLMOE_SERVER_SERVER_H_
#define OLMOE_SERVER_SERVER_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/access/access.h"
#include "server/completions/completions.h"
#include "server/engine/engine.h"
#include "server/http/http_server.h"
#include "server/http/live_state.h"
#include "server/limits/call_limits.h"
#include "server/limits/fair_workers.h"
#include "server/log/line_writer.h"
#include "server/log/request_log.h"
#include "server/model/load_model.h"
#include "server/model/model.h"
#include "server/net/acceptor.h"
#include "server/net/listener.h"
#include "server/net/port_probe.h"
#include "server/options.h"
#include "server/routing/calibration.h"
#include "server/routing/controller.h"
#include "server/routing/router.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/inference_calls.h"
#include "server/rpc/open_watches.h"
#include "server/state/state_store.h"
#include "server/stats/server_metrics.h"
#include "server/stats/stats_cursors.h"
#include "server/text/tokenizer.h"
#include "server/util/heap_trimmer.h"
#include "server/util/periodic.h"

namespace olmoe {

// Owns every object of the process and knows in which order they begin and end.
// Create loads, Start opens the ports, Drain closes them. One thread calls these; once.
class Server {
 public:
  // Loads the model; no port is open yet. `log` takes the lines about requests and outlives
  // the server. Errors are one line for the operator.
  static absl::StatusOr<std::unique_ptr<Server>> Create(Options options, log::LineWriter* log,
                                                        const model::LoadProgress& progress = {});
  ~Server();

  // Opens the ports, then writes the ports file: from then on requests are taken.
  absl::Status Start();

  // Publishes the plan of the --routing file as it is now. An error is logged, and
  // nothing changes. After Create and before Drain; on any thread.
  void ReloadRouting();

  // Not ready -> lame duck -> no new requests -> accepted ones finish, those left after
  // the grace are cancelled -> ports closed. Returns how many were cancelled.
  int Drain();

  // 0 for a Unix socket.
  int port() const { return inference_server_->port(); }
  int admin_port() const { return admin_server_->port(); }
  int http_port() const { return http_server_->port(); }
  // REQUIRES: there is one, by --completions-listen.
  int completions_port() const { return completions_server_->port(); }

 private:
  Server(Options options, log::LineWriter* log);

  // Create, step by step.
  absl::Status OpenAccess();
  absl::Status OpenState();
  absl::Status ReadRoutingFile();
  absl::Status BindPorts();
  absl::Status LoadTokenizer();
  absl::Status LoadSamplingDefaults();
  absl::Status CheckRouting();
  absl::Status LoadModel(const model::LoadProgress& progress);
  absl::Status PrepareRouters();
  absl::Status MakeRouting();
  routing::RoutingController::Options RoutingOptions(const routing::RouterShape& shape) const;
  // What a change of the routers waits for.
  routing::RouterSet::Hooks RouterHooks();
  void MakeEngine();
  void MakeContexts();
  void MakeCompletions();

  // Start, step by step.
  absl::Status ListenForInference();
  absl::Status ListenForAdmin();
  absl::Status ListenForHttp();
  absl::Status ListenForCompletions();
  absl::Status WritePortsFile() const;
  void LogWhatIsServed() const;

  // Drain, step by step.
  void BecomeNotReady();
  void ClosePorts();

  // What /readyz says: requests are taken, and both gRPC ports answer.
  bool IsReady() const { return ready_ && num_silent_ports_ == 0; }
  // Tells the health service of both gRPC ports.
  void TellReadiness();
  net::PortProbe::Options ProbeOf(const char* flag);

  // Of a gRPC client on either port, see GrpcServer::Disconnect.
  void Disconnect(const std::string& peer);

  // On the engine's thread, or on gRPC's for a request that was refused.
  void OnRequestDone(const engine::RequestOutcome& outcome);

  const Options options_;
  net::ConnectionLimits port_limits_;  // of each gRPC port; constant after BindPorts
  std::atomic<bool> ready_ = false;
  std::atomic<bool> draining_ = false;
  std::atomic<int> num_silent_ports_ = 0;  // gRPC ports that do not answer their probe
  absl::Mutex tell_mu_;                    // held by TellReadiness: the last one tells the truth
  std::atomic<bool> both_listen_ = false;  // the gRPC servers; handlers run a little earlier

  // In order of creation: each uses only those above it.
  std::unique_ptr<log::RequestLog> request_log_;  // null: --request-log=off
  access::Access access_;
  // Until they are the servers'.
  std::optional<net::Listener> inference_listener_;
  std::optional<net::Listener> admin_listener_;
  std::optional<net::Listener> http_listener_;
  std::optional<net::Listener> completions_listener_;  // none without --completions-listen
  std::string served_on_;  // the addresses of the ports, for people
  std::unique_ptr<text::Tokenizer> tokenizer_;  // null: token ids only
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<state::StateStore> state_;  // null: without --state-dir
  std::unique_ptr<routing::CalibrationSet> calibrations_;
  std::unique_ptr<routing::RouterSet> routers_;  // the model's after PrepareRouters
  std::optional<routing::PlanFile> routing_file_;  // unset: without --routing
  std::unique_ptr<routing::RoutingController> controller_;
  std::unique_ptr<stats::ServerMetrics> metrics_;
  std::unique_ptr<stats::StatsCursors> expert_stats_;
  std::unique_ptr<limits::CallLimits> call_limits_;
  std::unique_ptr<completions::Completions> completions_;  // null without --completions-listen
  std::unique_ptr<engine::Engine> engine_;  // wakes completions_ to the end
  limits::FairWorkers large_requests_{{}};
  rpc::OpenWatches watches_;
  experiment::Serving serving_;
  rpc::InferenceContext inference_context_;
  rpc::AdminContext admin_context_;
  std::unique_ptr<rpc::GrpcServer> inference_server_;
  std::unique_ptr<rpc::GrpcServer> admin_server_;
  std::unique_ptr<http::LiveState> live_state_;
  std::unique_ptr<http::HttpServer> http_server_;
  std::unique_ptr<http::HttpServer> completions_server_;  // null without --completions-listen
  std::unique_ptr<HeapTrimmer> heap_trimmer_;
  std::unique_ptr<Periodic> stats_marker_;
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_SERVER_H_
