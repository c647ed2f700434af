#ifndef OLMOE_SERVER_EXPERIMENT_ENGINE_REQUEST_H_
#define OLMOE_SERVER_EXPERIMENT_ENGINE_REQUEST_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"
#include "server/experiment/serving.h"
#include "server/routing/plan.h"
#include "server/routing/plan_slot.h"

namespace olmoe::experiment {

// How a request asked to be routed; checked, not yet assigned.
struct RoutingChoice {
  std::string unit_id;
  std::optional<std::string> arm_id;
  std::shared_ptr<const routing::RoutingPolicy> inline_policy;  // or null
  // Or null; with inline_policy for what it does not cover.
  std::shared_ptr<const routing::RecordedRouting> replay;
  uint64_t routing_seed = 0;
};

// One request on its way through the engine: pinned and assigned by Admit, queued by
// Submit, cancelled and resumed from then on, reported once when it has ended.
// Admit, Submit and Report are called by one thread at a time; Cancel and Resume by
// any thread at any time.
class EngineRequest {
 public:
  // `method`: a literal, "Generate". `client`: whose share of the queue it takes; empty: nobody's.
  // `protocol`: one of engine::kGrpc and kHttp.
  EngineRequest(const Serving* serving, std::string_view method, std::string client,
                std::string_view protocol = engine::kGrpc)
      : serving_(serving), method_(method), protocol_(protocol), client_(std::move(client)) {}

  // Pins the current plan and assigns the arm: generation and assignment are known from here on.
  // PERMISSION_DENIED for an arm that does not exist or may not be named.
  absl::Status Admit(const RoutingChoice& choice, std::string request_id);
  // The same plan and arm as another's, whose plan `pin` is.
  void AdmitLike(const EngineRequest& other, routing::PlanPin pin, std::string request_id);
  // Of the plan, for AdmitLike. REQUIRES: admitted, and not submitted yet.
  routing::PlanPin PinAgain() const { return pin_.Again(); }

  // An error: `sink` is never called.
  absl::Status Submit(std::variant<engine::GenerateWork, engine::ScoreWork> work,
                      absl::Time deadline, engine::Sink sink);
  // CANCELLED, or DEADLINE_EXCEEDED where that is why.
  void Cancel();
  void Resume();

  // Tells statistics and the log how it ended; `completion` may be null. What a Score summed up:
  // `scored_logprob_sum` (nats) over `scored_tokens`.
  void Report(const absl::Status& status, const engine::Completion* completion,
              double scored_logprob_sum = 0, uint64_t scored_tokens = 0);

  const Serving& serving() const { return *serving_; }
  const std::string& request_id() const { return request_id_; }
  uint64_t generation() const { return generation_; }  // of the plan; 0: not admitted
  const routing::Assignment& assignment() const { return assignment_; }

 private:
  const Serving* const serving_;
  const std::string_view method_, protocol_;
  const std::string client_;
  std::string request_id_;
  absl::Time deadline_ = absl::InfiniteFuture();
  routing::PlanPin pin_;  // until Submit
  uint64_t generation_ = 0;
  routing::Assignment assignment_;
  uint64_t routing_seed_ = 0;
  // Cancel and Resume may come before Submit has returned the handle.
  std::atomic<engine::RequestHandle> handle_{0};  // 0: none
  std::atomic<bool> cancelled_{false}, resumed_{false};
};

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_ENGINE_REQUEST_H_
