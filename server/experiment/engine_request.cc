#include "server/experiment/engine_request.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "server/routing/controller.h"
#include "server/util/interrupt.h"

namespace olmoe::experiment {
namespace {

absl::StatusOr<routing::Assignment> Assign(const RoutingChoice& choice,
                                           const std::string& request_id,
                                           const routing::RoutingPlan& plan) {
  if (choice.inline_policy != nullptr) {
    return routing::Assignment{std::string(routing::kInlineArm), choice.inline_policy,
                               routing::AssignmentReason::kInlinePolicy, choice.replay};
  }
  if (choice.arm_id) return plan.AssignExplicit(*choice.arm_id);
  return plan.Assign(choice.unit_id, request_id);
}

// Callers without a name are one.
std::optional<std::string> CacheScope(PrefixCache cache, const std::string& client) {
  switch (cache) {
    case PrefixCache::kOff: return std::nullopt;
    case PrefixCache::kPrincipal: return client.starts_with(kNamedClient) ? client : "";
    case PrefixCache::kShared: return "";
  }
  return std::nullopt;
}

}  // namespace

absl::Status EngineRequest::Admit(const RoutingChoice& choice, std::string request_id) {
  request_id_ = std::move(request_id);
  routing::PlanPin pin = serving_->controller->slot().Pin();
  absl::StatusOr<routing::Assignment> assignment = Assign(choice, request_id_, *pin);
  if (!assignment.ok()) return assignment.status();
  assignment_ = *std::move(assignment);
  routing_seed_ = choice.routing_seed;
  generation_ = pin->generation();
  pin_ = std::move(pin);
  return absl::OkStatus();
}

void EngineRequest::AdmitLike(const EngineRequest& other, routing::PlanPin pin,
                              std::string request_id) {
  request_id_ = std::move(request_id);
  assignment_ = other.assignment_;
  routing_seed_ = other.routing_seed_;
  generation_ = other.generation_;
  pin_ = std::move(pin);
}

absl::Status EngineRequest::Submit(std::variant<engine::GenerateWork, engine::ScoreWork> work,
                                   absl::Time deadline, engine::Sink sink) {
  deadline_ = deadline;
  engine::Request request;
  request.request_id = request_id_;
  request.client = client_;
  request.work = std::move(work);
  request.pin = std::move(pin_);
  request.assignment = assignment_;
  request.routing_seed = routing_seed_;
  request.cache_scope = CacheScope(serving_->prefix_cache, client_);
  request.deadline = deadline;
  absl::StatusOr<engine::RequestHandle> handle =
      serving_->engine->Submit(std::move(request), std::move(sink));
  if (!handle.ok()) return handle.status();
  handle_ = *handle;
  if (cancelled_) Cancel();
  if (resumed_) Resume();
  return absl::OkStatus();
}

void EngineRequest::Cancel() {
  cancelled_ = true;
  const engine::RequestHandle handle = handle_;
  if (handle == 0) return;
  serving_->engine->Cancel(handle, CancelledAt(deadline_));
}

void EngineRequest::Resume() {
  resumed_ = true;
  if (const engine::RequestHandle handle = handle_; handle != 0) serving_->engine->Resume(handle);
}

void EngineRequest::Report(const absl::Status& status, const engine::Completion* completion,
                           double scored_logprob_sum, uint64_t scored_tokens) {
  pin_.Release();
  if (!serving_->on_request_done) return;
  engine::RequestOutcome outcome;
  outcome.method = method_;
  outcome.protocol = protocol_;
  outcome.request_id = request_id_;
  outcome.status = status;
  outcome.completion = completion;
  outcome.scored_logprob_sum = scored_logprob_sum;
  outcome.scored_tokens = scored_tokens;
  if (assignment_.policy != nullptr) {
    outcome.arm_id = assignment_.arm_id;
    outcome.policy_id = assignment_.policy_id();
    outcome.generation = generation_;
    outcome.assignment = assignment_.reason;
  }
  serving_->on_request_done(outcome);
}

}  // namespace olmoe::experiment
