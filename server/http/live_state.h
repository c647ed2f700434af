#ifndef OLMOE_SERVER_HTTP_LIVE_STATE_H_
#define OLMOE_SERVER_HTTP_LIVE_STATE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/model/model.h"
#include "server/routing/controller.h"
#include "server/stats/server_metrics.h"

namespace olmoe::http {

// What the server is doing at this moment, as JSON: from the counters of /metrics, so both
// say the same. Counts are totals since the start of the process: whoever wants rates takes
// the difference of two answers. Times are seconds since 1970, durations seconds. There are
// no prompts, request ids, unit ids or names of callers in it. The format is `version` 1: fields
// may be added to it, and another meaning of one is another version.
//
// /live.json (StateJson)
//   version, time               of this answer, by the server's clock
//   server                      version, start_time (another one: counts began anew), ready
//                               (false: it drains)
//   model                       id, layers, experts, top_k, dtype, device
//   engine                      running, queued, kv_used_bytes, kv_capacity_bytes,
//                               prefix_cache_bytes (that hold prompts, used or not)
//   plan                        generation, digest, source, note, activate_time, expire_time
//                               (null: no time to live), requests_on_older_plans
//   plan.arms[]                 arm, weight, share (of the requests that are split), running
//                               and queued (requests of any generation), policy
//   plan.arms[].policy          id, digest, kind (as in olmoe_routing_arm_info), description;
//                               apply, analyze (null: nothing is analyzed) and decode (of tokens
//                               beyond the prompt; null: apply) in words; router (name of the
//                               uploaded weights; "": the model's own);
//                               layer_overrides[]: layers, apply, analyze, decode (null: the
//                               policy's)
//   buckets                     upper bounds of the histograms below, without the last, +Inf
//   counters[]                  of every arm that is counted, also of older plans and "inline":
//                               arm ("": refused before one was found), requests.ok and
//                               .failed, tokens.prefill, .decode and .score, cached_tokens (of prompts,
//                               not computed again); histograms
//                               time_to_first_token_seconds, time_per_output_token_seconds and
//                               inter_token_latency_seconds: counts of values, one a bucket,
//                               not cumulative
//   swaps[]                     the newest plans, newest first: generation, time, source, note
//
// /live/experts.json (ExpertsJson), larger, so made for a slower beat
//   version, time, generation, layers, experts
//   arms[]                      of the current plan, of which a token was routed by its current
//                               policy: arm, policy_id, policy_digest, decision ("applied",
//                               "analyzed"), tokens (the same in every layer),
//                               expert_tokens[layer][expert] selections,
//                               experts_per_token[layer][k] tokens with k experts,
//                               banned[layer] and forced[layer] ids of the experts that the policy
//                               runs for no token and for every one
//
// Nothing is made before it is asked for. Thread-safe.
class LiveState {
 public:
  struct Options {
    const engine::Engine* engine = nullptr;            // not owned
    routing::RoutingController* controller = nullptr;  // not owned; only read
    const stats::ServerMetrics* metrics = nullptr;     // not owned
    model::ModelInfo model;
    std::string server_version;
    absl::Time start_time;
    std::function<bool()> ready;  // thread-safe
    std::function<absl::Time()> now = absl::Now;
  };
  explicit LiveState(Options options);

  std::string StateJson() const;
  std::string ExpertsJson() const;

  static constexpr size_t kMaxSwaps = 50;

 private:
  // Read from the history only where a plan was published since the last time.
  std::vector<routing::PlanRecord> NewestPlans(uint64_t generation) const;

  const Options options_;
  mutable absl::Mutex mu_;
  mutable uint64_t plans_generation_ ABSL_GUARDED_BY(mu_) = 0;
  mutable std::vector<routing::PlanRecord> plans_ ABSL_GUARDED_BY(mu_);  // newest first
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_LIVE_STATE_H_
