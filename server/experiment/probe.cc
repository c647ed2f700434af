#include "server/experiment/probe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "google/rpc/error_details.pb.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/routing/controller.h"

namespace olmoe::experiment {
namespace {

// What scoring the prompt under one policy gave.
struct Scored {
  std::vector<float> logits;         // [vocab_size], after the last token of the prompt
  uint64_t expert_activations = 0;   // of all tokens and layers
};

// Waits for the one window of a probe. Shared with the engine, so it may outlive the wait.
// Thread-safe.
class ProbeSink final : public engine::ScoreSink {
 public:
  engine::Flow OnScores(engine::WindowScores scores) override {
    scored_.logits = std::move(scores.last_logits);
    return engine::Flow::kContinue;
  }
  void OnDone(const engine::Completion& completion) override {
    status_ = completion.status;
    scored_.expert_activations = completion.expert_activations;
    done_.Notify();
  }

  absl::StatusOr<Scored> Await() {
    done_.WaitForNotification();  // the engine keeps the deadline
    if (!status_.ok()) return status_;
    return std::move(scored_);
  }

 private:
  absl::Notification done_;  // after it the members below are constant
  absl::Status status_;
  Scored scored_;
};

// The engine's error, with its details, saying whose it is.
absl::Status OfProbe(std::string_view arm_id, const absl::Status& status) {
  absl::Status named(status.code(), absl::StrCat("probe of ", std::string(arm_id), ": ",
                                                 std::string(status.message())));
  status.ForEachPayload([&](auto url, const absl::Cord& detail) { named.SetPayload(url, detail); });
  return named;
}

// Runs one probe's requests. Thread-compatible.
class Prober {
 public:
  Prober(const ProbeInput& input, absl::Time deadline, const Serving& serving)
      : input_(input), deadline_(deadline), serving_(serving) {}

  // `whose`: of an error.
  absl::StatusOr<Scored> Score(const std::shared_ptr<const routing::RoutingPolicy>& policy,
                               std::string_view whose) const {
    auto sink = std::make_shared<ProbeSink>();
    const auto handle = serving_.engine->Submit(MakeRequest(policy), sink);
    if (!handle.ok()) return OfProbe(whose, handle.status());
    absl::StatusOr<Scored> scored = sink->Await();
    if (!scored.ok()) return OfProbe(whose, scored.status());
    CHECK(!scored->logits.empty());
    return scored;
  }

  routing::ProbeResult Result(const routing::Arm& arm, const Scored& scored,
                              const LogitDifference& difference) const {
    routing::ProbeResult result;
    result.arm_id = arm.arm_id;
    result.max_abs_logit_difference = difference.max_abs;
    result.kl_divergence_nats = difference.kl_nats;
    result.top1_changed = difference.top1_changed;
    result.mean_experts_per_token =
        static_cast<double>(scored.expert_activations) /
        (static_cast<double>(input_.prompt.size()) * serving_.model.num_layers);
    result.layers_covered = static_cast<uint32_t>(arm.policy->num_changed_layers());
    return result;
  }

 private:
  engine::Request MakeRequest(std::shared_ptr<const routing::RoutingPolicy> policy) const {
    engine::ScoreWork work;
    work.last_logits = true;
    engine::ScoreWindow& window = work.windows.emplace_back();
    window.tokens = input_.prompt;
    // One more: the last token of a window is only a target.
    window.tokens.push_back(input_.prompt[0]);
    window.first_scored = static_cast<int>(input_.prompt.size());
    engine::Request request;
    request.request_id = "probe";
    request.work = std::move(work);
    request.assignment = {std::string(routing::kProbeArm), std::move(policy),
                          routing::AssignmentReason::kInlinePolicy};
    request.deadline = deadline_;
    return request;
  }

  const ProbeInput& input_;
  const absl::Time deadline_;
  const Serving& serving_;
};

absl::Status Unchanged(const std::vector<std::string>& arm_ids) {
  google::rpc::PreconditionFailure failure;
  for (const std::string& arm_id : arm_ids) {
    google::rpc::PreconditionFailure::Violation* violation = failure.add_violations();
    violation->set_type("PROBE_UNCHANGED");
    violation->set_subject("arms/" + arm_id);
    violation->set_description(
        "the rule differs from the model's own, and the logits of the probe are the same bits");
  }
  absl::Status status = absl::FailedPreconditionError(
      absl::StrCat("the probe shows no change for arm ", absl::StrJoin(arm_ids, ", "),
                   ": the rule differs from the model's own, and the logits are the same bits"));
  status.SetPayload("type.googleapis.com/google.rpc.PreconditionFailure",
                    absl::Cord(failure.SerializeAsString()));
  return status;
}

double LogSumExp(std::span<const float> logits) {
  const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

}  // namespace

LogitDifference CompareLogits(std::span<const float> own, std::span<const float> other) {
  CHECK(!own.empty());
  CHECK_EQ(own.size(), other.size());
  LogitDifference difference;
  difference.identical = std::memcmp(own.data(), other.data(), own.size_bytes()) == 0;
  difference.top1_changed = std::max_element(own.begin(), own.end()) - own.begin() !=
                            std::max_element(other.begin(), other.end()) - other.begin();
  const double own_log_sum = LogSumExp(own), other_log_sum = LogSumExp(other);
  double kl = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    const double a = static_cast<double>(own[i]), b = static_cast<double>(other[i]);
    difference.max_abs = std::max(difference.max_abs, std::abs(a - b));
    kl += std::exp(a - own_log_sum) * ((a - own_log_sum) - (b - other_log_sum));
  }
  difference.kl_nats = std::max(kl, 0.0);  // rounding may leave it just below
  return difference;
}

absl::StatusOr<std::vector<routing::ProbeResult>> RunProbe(const routing::RoutingPlan& candidate,
                                                           const ProbeInput& input,
                                                           absl::Time deadline,
                                                           const Serving& serving) {
  const Prober prober(input, std::min(deadline, absl::Now() + kMaxProbeTime), serving);
  const absl::StatusOr<Scored> own =
      prober.Score(serving.controller->native_policy(), "the model's own routing");
  if (!own.ok()) return own.status();
  std::vector<routing::ProbeResult> results;
  std::vector<std::string> unchanged;
  for (const routing::Arm& arm : candidate.arms()) {
    const absl::StatusOr<Scored> scored = prober.Score(arm.policy, "arm " + arm.arm_id);
    if (!scored.ok()) return scored.status();
    const LogitDifference difference = CompareLogits(own->logits, scored->logits);
    results.push_back(prober.Result(arm, *scored, difference));
    const bool must_change = input.require_change && arm.policy->num_changed_layers() > 0;
    if (must_change && difference.identical) unchanged.push_back(arm.arm_id);
  }
  if (!unchanged.empty()) return Unchanged(unchanged);
  return results;
}

}  // namespace olmoe::experiment
