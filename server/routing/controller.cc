#include "server/routing/controller.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/controller_errors.h"
#include "server/routing/field_checks.h"
#include "server/routing/plan_rebuild.h"
#include "server/routing/policy_warnings.h"

namespace olmoe::routing {
namespace {

// What a rollback says that asks for no time to live, where one of the two plans had one.
void WarnOfLostTtl(const PlanRecord& current, const PlanRecord& earlier,
                   std::vector<std::string>* warnings) {
  const PlanRecord& had = earlier.has_ttl() ? earlier : current;
  if (!had.has_ttl()) return;
  warnings->push_back(absl::StrCat("the time to live of generation ", had.generation,
                                   " is not taken over: this plan stays until it is replaced; ttl "
                                   "sets another end"));
}

// The record to go back to.
absl::StatusOr<PlanRecord> EarlierPlan(const PlanStore& store, uint64_t current,
                                       std::optional<uint64_t> to_generation) {
  if (to_generation) {
    absl::StatusOr<PlanRecord> record = store.Find(*to_generation);
    return absl::IsNotFound(record.status()) ? UnknownGeneration(*to_generation)
                                             : std::move(record);
  }
  absl::StatusOr<std::vector<PlanRecord>> earlier = store.List(current, 1);
  if (!earlier.ok()) return earlier.status();
  if (earlier->empty()) return UnknownGeneration(current - 1);
  return std::move(earlier->front());
}

}  // namespace

absl::StatusOr<PatchResult> RoutingController::Patch(PlanSpec plan, const PatchOptions& options) {
  absl::StatusOr<PatchResult> result;
  {
    absl::MutexLock lock(&admin_mu_);
    result = BuildAndSwap(std::move(plan), options, PlanSource::kPatch, std::nullopt);
  }
  if (result.ok()) Settle(options, &*result);
  return result;
}

absl::StatusOr<PatchResult> RoutingController::ApplyFile(const PlanFile& file) {
  absl::MutexLock lock(&admin_mu_);
  return BuildAndSwap(file.spec, {}, PlanSource::kFile, file.digest);
}

absl::StatusOr<PatchResult> RoutingController::BuildAndSwap(
    PlanSpec spec, const PatchOptions& options, PlanSource source,
    std::optional<std::string> file_digest) {
  absl::StatusOr<std::optional<PatchResult>> first_answer = FirstAnswer(options);
  if (!first_answer.ok()) return first_answer.status();
  if (first_answer->has_value()) return **std::move(first_answer);
  absl::StatusOr<std::shared_ptr<const RoutingPlan>> next = Build(std::move(spec), source);
  if (!next.ok()) return next.status();
  std::vector<std::string> warnings = WarningsOf(**next);
  return Swap(*std::move(next), options, std::move(warnings), std::move(file_digest));
}

absl::StatusOr<PatchResult> RoutingController::Unpatch(const PatchOptions& options) {
  absl::StatusOr<PatchResult> result;
  {
    absl::MutexLock lock(&admin_mu_);
    result = Swap(RoutingPlan::Native(options_.shape, slot_.Current()->generation() + 1,
                                      PlanSource::kUnpatch, options_.now()),
                  options, {}, std::nullopt);
    if (!result.ok()) return result;
    if (!result->changed && !options.validate_only) {
      result->warnings.push_back("not patched: the model's own routing was current already");
    }
  }
  Settle(options, &*result);
  return result;
}

absl::StatusOr<PatchResult> RoutingController::Rollback(std::optional<uint64_t> to_generation,
                                                        const PatchOptions& options) {
  absl::StatusOr<PatchResult> result;
  {
    absl::MutexLock lock(&admin_mu_);
    const PlanRecord current = *CurrentRecord();
    // First: what a caller meant by "the one before" is another plan by now.
    if (options.expected_generation && *options.expected_generation != current.generation) {
      return GenerationMismatch(current.generation, *options.expected_generation);
    }
    const absl::StatusOr<PlanRecord> record =
        EarlierPlan(*store_, current.generation, to_generation);
    if (!record.ok()) return record.status();
    absl::StatusOr<std::shared_ptr<const RoutingPlan>> next =
        Rebuild(*record, options_.shape, options_.named(), options_.max_arms,
                current.generation + 1, PlanSource::kRollback, options_.now());
    if (!next.ok()) return next.status();
    std::vector<std::string> warnings;
    if (!options.ttl) WarnOfLostTtl(current, *record, &warnings);
    result = Swap(*std::move(next), options, std::move(warnings), std::nullopt);
    if (!result.ok()) return result;
    if (!result->changed && !options.validate_only) {
      result->warnings.push_back(
          absl::StrCat("the plan of generation ", record->generation, " was current already"));
    }
  }
  Settle(options, &*result);
  return result;
}

absl::Status RoutingController::BetweenPatches(const std::function<absl::Status()>& change) {
  absl::MutexLock lock(&admin_mu_);
  return change();
}

absl::StatusOr<std::shared_ptr<const RoutingPlan>> RoutingController::Build(
    PlanSpec spec, PlanSource source) const {
  return RoutingPlan::Create(std::move(spec), options_.shape, options_.named(), options_.max_arms,
                             slot_.Current()->generation() + 1, source, options_.now(), "plan");
}

absl::StatusOr<std::shared_ptr<const RoutingPlan>> RoutingController::BuildOnly(
    PlanSpec spec) const {
  return Build(std::move(spec), PlanSource::kPatch);
}

std::vector<std::string> RoutingController::WarningsOf(const RoutingPlan& plan) const {
  std::vector<std::string> warnings;
  const std::vector<ArmSpec>& arms = plan.spec().arms;
  for (size_t arm = 0; arm < arms.size(); ++arm) {
    const std::vector<std::string> added = PolicyWarnings(
        arms[arm].policy, options_.shape, FieldPath(FieldPath("plan", "arms", arm), "policy"));
    warnings.insert(warnings.end(), added.begin(), added.end());
  }
  return MergeWarnings(warnings);
}

absl::StatusOr<std::optional<PatchResult>> RoutingController::FirstAnswer(
    const PatchOptions& options) {
  if (options.idempotency.key.empty()) return std::optional<PatchResult>();
  absl::StatusOr<std::optional<KeptAnswer>> kept = store_->FindAnswer(options.idempotency.key);
  if (!kept.ok()) return kept.status();
  if (!kept->has_value()) return std::optional<PatchResult>();
  if ((*kept)->request_digest != options.idempotency.request_digest) return IdempotencyKeyReused();
  PatchResult result;
  static_cast<PatchAnswer&>(result) = std::move((*kept)->answer);
  result.current = slot_.Current();
  result.is_repeated = true;
  return std::optional<PatchResult>(std::move(result));
}

absl::StatusOr<PatchResult> RoutingController::Swap(std::shared_ptr<const RoutingPlan> next,
                                                    const PatchOptions& options,
                                                    std::vector<std::string> warnings,
                                                    std::optional<std::string> file_digest) {
  PatchResult result;
  result.current = slot_.Current();
  result.record = *CurrentRecord();
  result.previous_generation = result.record.generation;
  result.in_flight = slot_.InFlight(result.record.generation);
  result.warnings = std::move(warnings);
  if (options.expected_generation.has_value() &&
      *options.expected_generation != result.previous_generation) {
    return GenerationMismatch(result.previous_generation, *options.expected_generation);
  }
  if (options.examine) {
    absl::StatusOr<PlanFindings> findings = options.examine(*next);
    if (!findings.ok()) return findings.status();
    result.warnings.insert(result.warnings.end(), findings->warnings.begin(),
                           findings->warnings.end());
    result.probe_results = std::move(findings->probe_results);
  }
  if (options.validate_only) {
    result.checked = std::move(next);
    return result;
  }

  PlanChange change;
  change.file_digest = std::move(file_digest);
  if (options.ttl || result.record.has_ttl() || !next->SameAs(*result.current)) {
    change.plan = RecordOf(*next, options.actor);
    if (options.ttl) {
      change.plan->expire_time = next->activate_time() + *options.ttl;
      change.plan->fallback_generation = result.previous_generation;
    }
    result.changed = true;
    result.current = next;
    result.record = *change.plan;
    result.in_flight_on_previous = std::exchange(result.in_flight, 0);
  }
  if (const IdempotencyKey& key = options.idempotency; !key.key.empty()) {
    change.answer = {key.key, key.request_digest, static_cast<const PatchAnswer&>(result)};
  }
  if (absl::Status status = Store(change); !status.ok()) return status;
  if (result.changed) {
    const PlanSlot::Swap swap = Publish(std::move(next), result.record);
    result.in_flight_on_previous = swap.in_flight_on_previous;
    result.swap_duration = swap.admission_blocked;
  }
  return result;
}

absl::Status RoutingController::Store(const PlanChange& change) {
  if (!change.plan && !change.answer && !change.file_digest) return absl::OkStatus();
  const absl::Status status = store_->Append(change);
  if (status.ok()) return status;
  LOG(ERROR) << "a plan could not be stored: " << status.message();
  return NotStored(status);
}

PlanSlot::Swap RoutingController::Publish(std::shared_ptr<const RoutingPlan> next,
                                          PlanRecord record) {
  const PlanSlot::Swap swap = slot_.Publish(std::move(next));
  SetAlarm(record);
  SetRecord(std::move(record));
  return swap;
}

void RoutingController::Settle(const PatchOptions& options, PatchResult* result) {
  const uint64_t generation = result->current->generation();
  if (options.wait_for_drain && !options.validate_only &&
      !slot_.AwaitDrainBefore(generation, absl::Now() + *options.wait_for_drain)) {
    int64_t in_flight = 0;
    for (const DrainingPlan& draining : slot_.Draining()) {
      if (draining.plan->generation() < generation) in_flight += draining.in_flight;
    }
    result->warnings.push_back(absl::StrCat("wait_for_drain ran out: ", in_flight,
                                            " requests still use plans older than generation ",
                                            generation));
  }
  if (!result->is_repeated) result->in_flight = slot_.InFlight(generation);
}

}  // namespace olmoe::routing
