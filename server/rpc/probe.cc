#include "server/rpc/probe.h"

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
#include "server/rpc/request_fields.h"
#include "server/rpc/routing_proto.h"

namespace olmoe::rpc {
namespace {

// Names, numbers, code and two languages: experts of several kinds have work.
constexpr char kBuiltInPrompt[] =
    "In 1911 Marie Curie received her second Nobel Prize. The function f(x) = 3x + 2 maps 5 to 17. "
    "for (int i = 0; i < n; ++i) sum += a[i]; Guten Morgen, wie geht es dir? The answer is";
constexpr TokenId kBuiltInTokens = 16;  // ids 1..16 where there is no tokenizer

std::vector<TokenId> BuiltInPrompt(const ServiceContext& context, RequestErrors* errors) {
  std::vector<TokenId> prompt;
  if (context.tokenizer != nullptr) {
    prompt = EncodeText(kBuiltInPrompt, "probe", true, context, errors);
  } else {
    for (TokenId id = 1; id <= kBuiltInTokens; ++id) {
      prompt.push_back(id % context.model.vocab_size);
    }
  }
  prompt.resize(std::min(prompt.size(), static_cast<size_t>(context.model.max_context)));
  return prompt;
}

// What scoring the prompt under one policy gave.
struct Scored {
  std::vector<float> logits;         // [vocab_size], after the last token of the prompt
  uint64_t expert_activations = 0;   // of all tokens and layers
};

// Waits for the one window of a probe. Shared with the engine, so it may outlive the wait.
// Thread-safe.
class ProbeSink final : public engine::TokenSink {
 public:
  engine::Flow OnTokens(engine::GenerateDelta) override {
    LOG(FATAL) << "a score has no tokens";
    return engine::Flow::kContinue;
  }
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
  status.ForEachPayload([&](auto url, const absl::Cord& detail) {
    named.SetPayload(url, detail);
  });
  return named;
}

// Runs one probe's requests. Thread-compatible.
class Prober {
 public:
  Prober(const ProbeInput& input, absl::Time deadline, const ServiceContext& context)
      : input_(input), deadline_(deadline), context_(context) {}

  // `whose`: of an error.
  absl::StatusOr<Scored> Score(const std::shared_ptr<const routing::RoutingPolicy>& policy,
                               std::string_view whose) const {
    auto sink = std::make_shared<ProbeSink>();
    const auto handle = context_.engine->Submit(MakeRequest(policy), sink);
    if (!handle.ok()) return OfProbe(whose, handle.status());
    absl::StatusOr<Scored> scored = sink->Await();
    if (!scored.ok()) return OfProbe(whose, scored.status());
    CHECK(!scored->logits.empty());
    return scored;
  }

  v1::ProbeResult Result(const routing::Arm& arm, const Scored& scored,
                         const LogitDifference& difference) const {
    v1::ProbeResult result;
    result.set_arm_id(arm.arm_id);
    result.set_max_abs_logit_difference(difference.max_abs);
    result.set_kl_divergence_nats(difference.kl_nats);
    result.set_top1_changed(difference.top1_changed);
    result.set_mean_experts_per_token(
        static_cast<double>(scored.expert_activations) /
        (static_cast<double>(input_.prompt.size()) * context_.model.num_layers));
    result.set_layers_covered(static_cast<uint32_t>(arm.policy->num_changed_layers()));
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
    request.assignment = {std::string(kProbeArm), std::move(policy),
                          routing::AssignmentReason::kInlinePolicy};
    request.deadline = deadline_;
    return request;
  }

  const ProbeInput& input_;
  const absl::Time deadline_;
  const ServiceContext& context_;
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
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      "the probe shows no change for arm ", absl::StrJoin(arm_ids, ", "),
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

ProbeInput ParseProbe(const v1::Probe& probe, const ServiceContext& context,
                      RequestErrors* errors) {
  ProbeInput input;
  input.require_change = probe.require_change();
  if (probe.text().empty()) {
    input.prompt = BuiltInPrompt(context, errors);
    return input;
  }
  const int errors_before = errors->num_added();
  input.prompt = EncodeText(probe.text(), "probe.text", true, context, errors);
  if (errors->num_added() > errors_before) return input;
  const size_t limit =
      std::min(kMaxProbeTokens, static_cast<size_t>(context.model.max_context));
  if (input.prompt.empty() || input.prompt.size() > limit) {
    errors->Add("probe.text", absl::StrCat("must be 1..", limit, " tokens, is ",
                                           input.prompt.size()));
  }
  return input;
}

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

absl::StatusOr<std::vector<v1::ProbeResult>> RunProbe(const routing::RoutingPlan& candidate,
                                                      const ProbeInput& input,
                                                      absl::Time deadline,
                                                      const ServiceContext& context) {
  const Prober prober(input, std::min(deadline, absl::Now() + kMaxProbeTime), context);
  const absl::StatusOr<Scored> own =
      prober.Score(context.controller->native_policy(), "the model's own routing");
  if (!own.ok()) return own.status();
  std::vector<v1::ProbeResult> results;
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

}  // namespace olmoe::rpc
