#ifndef OLMOE_SERVER_RPC_SERVICE_CONTEXT_H_
#define OLMOE_SERVER_RPC_SERVICE_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"
#include "server/routing/plan.h"

namespace olmoe::access {
class Gate;
}
namespace olmoe::engine {
class Engine;
}
namespace olmoe::routing {
class CalibrationSet;
class RoutingController;
}
namespace olmoe::stats {
class StatsCursors;
}
namespace olmoe::text {
class Tokenizer;
}

namespace olmoe::rpc {

class CallLimits;
class FairWorkers;
class OpenWatches;
class WorkerPool;

// What a Score summed up.
struct ScoredSum {
  double logprob = 0;  // nats
  uint64_t tokens = 0;
};

// How one request ended, for statistics and logs.
struct RequestOutcome {
  // "Generate", "GenerateStream", "Score", "ScoreStream", "BuildCalibration"
  std::string_view method;
  std::string request_id;
  std::string arm_id;       // empty: refused before an arm was found
  std::string policy_id;    // of that arm
  uint64_t generation = 0;
  std::optional<routing::AssignmentReason> assignment;
  absl::Status status;
  // What the engine says about it; null where it was refused before.
  const engine::Completion* completion = nullptr;
  ScoredSum scored;
};

// How one PatchRouters or UnpatchRouters ended.
struct SwapOutcome {
  std::string_view outcome;  // "applied", "unchanged", "conflict", "rejected"
  absl::Duration swap_duration;
};

// What the RPCs of both ports share. Pointers are not owned and outlive the
// services. Constant once serving; what it points to is thread-safe.
struct ServiceContext {
  engine::Engine* engine = nullptr;
  routing::RoutingController* controller = nullptr;
  // Also the controller's. Null: inline policies have none; the admin service needs it.
  routing::CalibrationSet* calibrations = nullptr;
  const text::Tokenizer* tokenizer = nullptr;            // null: token ids only
  model::ModelInfo model;

  const access::Gate* admin_gate = nullptr;  // names who patches, see ActorOf; null: nobody
  const access::Gate* gate = nullptr;        // of the public port; names clients, see ClientOf
  bool behind_proxy = false;                 // which tells whose calls it passes on
  CallLimits* limits = nullptr;              // not null
  FairWorkers* large_requests = nullptr;  // where they are prepared; null: gRPC's threads

  bool allow_inline_policy = false;
  uint32_t max_batch_sequences = 0;  // for GetModelInfo
  // Series that /metrics exports about the routers of a plan's arms. May be empty.
  std::function<int64_t(const routing::RoutingPlan&)> count_series;
  std::string server_version;
  absl::Time start_time;

  size_t max_pending_bytes = size_t{1} << 20;   // of one stream, behind the write under way
  int max_stream_requests = 32;                 // of one ScoreStream, read and not yet answered
  int64_t max_response_bytes = int64_t{64} << 20;  // of one Score

  // Called on any thread; must be thread-safe and must not block. May be empty.
  std::function<void(const RequestOutcome&)> on_request_done;
  std::function<void(const SwapOutcome&)> on_swap;
  // Called when an operator drains the server by RPC.
  std::function<void()> on_drain;
  // Ends the connection of a call's client by force: GrpcServer::Disconnect of the call's peer().
  // May be empty.
  std::function<void(const std::string& peer)> disconnect;

  // Of the admin service alone, which needs both.
  stats::StatsCursors* expert_stats = nullptr;
  OpenWatches* watches = nullptr;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_SERVICE_CONTEXT_H_
